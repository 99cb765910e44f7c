"""`python -m benchmarks [--parts quick,ema]`: measures, and writes the tables of RESULTS.md.

Each part's table is printed and written as soon as it is known, with machine, date and command, so
that what one part costs or breaks takes nothing from the others. Half an hour on two idle cores.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.documents import Row, table, write_into

PARTS = ("quick", "flops", "demo_step", "ema", "loader", "frechet")
"""Modules with `rows()`; `python -m benchmarks.NAME` prints one alone."""
RESULTS = Path(__file__).with_name("RESULTS.md")


def main(arguments: list[str] | None = None, results: Path = RESULTS) -> int:
    """Measure all parts; the exit code is the number of those that failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parts = parser.parse_args(arguments).parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}: choose of {', '.join(PARTS)}")
    torch.set_num_threads(1)
    failed = 0
    for part in parts:
        try:
            measured = f"{about(part)}\n\n{table(seen(rows_of(part)()))}"
        except Exception:
            traceback.print_exc()
            failed += 1
        else:
            write_into(results, {part: measured})
    return failed


def rows_of(part: str) -> Callable[[], Iterator[Row]]:
    """What measures a part."""
    rows: Callable[[], Iterator[Row]] = import_module(f"benchmarks.{part}").rows
    return rows


def seen(rows: Iterator[Row]) -> Iterator[Row]:
    """The same rows, each printed when it is known."""
    for name, value in rows:
        print(f"{name}: {value}", flush=True)
        yield name, value


def about(part: str) -> str:
    """When, where and how a part was measured; the load is other programs' at the start."""
    load = os.getloadavg()[0]
    machine = f"{os.cpu_count()} cores of {cpu()}, load {load:.1f}"
    return (
        f"{time.strftime('%Y-%m-%d')}, {machine}, torch {torch.__version__}, one thread: "
        f"`python -m benchmarks.{part}`"
    )


def cpu() -> str:
    """The processor's name, where the system tells it."""
    try:
        facts = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in facts if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    raise SystemExit(main())
