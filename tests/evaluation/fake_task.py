"""A task for the scheduler's tests: `python -m fake_task RESULT SECONDS [WHAT]`.

Counts its starts in RESULT.starts, works, and writes RESULT. WHAT: `fail` ends with an error,
`nothing` without the result, `stubborn` ignores SIGTERM. It starts a process of its own meanwhile.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType


def main(result: Path, seconds: float, what: str = "") -> int:
    def saved(number: int, frame: FrameType | None) -> None:
        time.sleep(0.5)
        result.with_suffix(".saved").write_text(str(number))
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, signal.SIG_IGN if what == "stubborn" else saved)
    helper = subprocess.Popen(["sleep", "7200"])
    with result.with_suffix(".starts").open("a") as file:
        file.write(f"{os.getpid()} {helper.pid} {os.environ['OMP_NUM_THREADS']}\n")
    if what == "fail":
        print("working\nerror: The fake is broken: mend it.\nmore", file=sys.stderr)
        return 5
    time.sleep(seconds)
    if what != "nothing":
        result.write_text("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:]))
