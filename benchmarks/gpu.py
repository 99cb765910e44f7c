"""`python -m benchmarks.gpu`: what full-size ART•V costs on one GPU; under 7 minutes on an H100.

Needs no network and no data: random weights in Stable Diffusion 2.1's shapes, stored latents that
it makes. `--tiny` runs on a CPU all that a CPU can. One table on the screen, one JSON, written
after every measurement; a part that fails is named and the next one begins.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

NEEDED = {
    "torch": "everything",
    "diffusers": "everything",
    "transformers": "everything",
    "safetensors": "everything",
    "jsonargparse": "everything",
    "lightning": "train, optimizer, loader",
    "av": "train, optimizer, loader",
}
"""Package -> the parts that need it."""
PARTS = ("count", "train", "optimizer", "generate", "vae", "kernels", "waits", "loader", "compiled")
SECONDS = 400


def missing() -> dict[str, str]:
    """The packages that are not installed, and which parts need them."""
    return {name: of for name, of in NEEDED.items() if importlib.util.find_spec(name) is None}


class Report:
    """Rows of measurements, kept in a JSON file.

    Args:
        path: path of the file.
        seconds: seconds after which no measurement begins any more.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.end, self.began = path, time.monotonic() + seconds, time.monotonic()
        self.rows: list[dict[str, Any]] = []
        self.errors: list[dict[str, str]] = []
        self.about: dict[str, Any] = {}

    def attempt(self, part: str, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Add what `measure` finds; what goes wrong is named, and ends nothing else."""
        if time.monotonic() > self.end:
            self._fail(part, name, "no time was left")
            return
        try:
            found = {key: _short(value) for key, value in measure().items()}
        except Exception as error:
            told = (str(error) or type(error).__name__).splitlines()[0]
            self._fail(part, name, f"{type(error).__name__}: {told}")
            self.errors[-1]["traceback"] = traceback.format_exc()[-2000:]
        else:
            self.rows.append({"part": part, "name": name, **found})
            shown = ", ".join(
                f"{k} {v}" for k, v in found.items() if not isinstance(v, dict | list)
            )
            print(f"{part:10} {name:34} {shown}", flush=True)
        self.write()

    def _fail(self, part: str, name: str, why: str) -> None:
        self.errors.append({"part": part, "name": name, "error": why})
        print(f"{part:10} {name:34} not measured: {why}", flush=True)

    def write(self, ended: str = "") -> None:
        """Write all that is known."""
        known = {"about": self.about, "rows": self.rows, "errors": self.errors, "ended": ended}
        part = self.path.with_name(self.path.name + ".part")
        part.write_text(json.dumps(known, indent=1) + "\n")
        os.replace(part, self.path)


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def watch(report: Report, seconds: float) -> threading.Timer:
    """Ends the process where a measurement hangs, with all that was measured kept."""

    def end() -> None:
        report.write("out of time")
        print("out of time", flush=True)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def main(arguments: list[str] | None = None) -> int:
    """Measure; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="no part begins later")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, on the CPU")
    options = parser.parse_args(arguments)
    parts = options.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}: choose of {', '.join(PARTS)}")
    absent = missing()
    for name, of in absent.items():
        print(f"missing: {name} (pip install {name}), needed by {of}", file=sys.stderr)
    if "everything" in absent.values():
        return 2
    from benchmarks.gpu_parts import measurements, meta  # torch takes seconds to import

    report = Report(options.out, options.seconds)
    timer = watch(report, options.seconds + 30)
    report.about = meta(options.tiny)
    for part in parts:
        try:
            for name, measure in measurements(part, options.tiny):
                report.attempt(part, name, measure)
        except Exception as error:
            report.attempt(part, "set-up", _raising(error))
    timer.cancel()
    report.write(f"done after {time.monotonic() - report.began:.0f} s")
    print(f"{len(report.rows)} measured, {len(report.errors)} not; {options.out}")
    return 0 if report.rows else 1


def _raising(error: Exception) -> Callable[[], dict[str, Any]]:
    def call() -> dict[str, Any]:
        raise error

    return call


if __name__ == "__main__":
    sys.exit(main())
