"""A progress line on stderr."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable


class Progress:
    """`frame 12/64, 3.1 frames/s, 0:17 left` on stderr, on one line of a terminal.

    Args:
        total: when it is finished; None where only the time, or nothing, says so.
        unit: what is counted.
        start: what was done before, by an interrupted run; it does not count for the rate.
        left: seconds that a time limit leaves.
    """

    def __init__(
        self,
        total: int | None,
        unit: str = "frame",
        start: int = 0,
        left: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self.total, self.unit, self.left = total, unit, left
        self.done = self._before = self._written = start
        self._note: str | Callable[[], str] = ""
        self._start = self._shown = time.monotonic()

    def __call__(self, more: int, note: str | Callable[[], str] = "") -> None:
        """`more` is done; `note`, or what it gives, is added to the line."""
        self.done += more
        self._note = note
        since = time.monotonic() - self._shown
        if since >= (0.1 if sys.stderr.isatty() else 10) or self.done == self.total:
            self._write()

    def _write(self) -> None:
        self._shown, self._written = time.monotonic(), self.done
        end = "\033[K\r" if sys.stderr.isatty() else "\n"
        note = self._note if isinstance(self._note, str) else self._note()
        print(self.line(self._shown) + note, end=end, file=sys.stderr, flush=True)

    def line(self, now: float) -> str:
        """The progress at time `now`."""
        rate = (self.done - self._before) / max(now - self._start, 1e-9)
        left = self.left()
        if self.total is not None:
            left = min(left, (self.total - self.done) / max(rate, 1e-9))
        seconds = max(0, round(left)) if left < math.inf else 0
        eta = f", {seconds // 60}:{seconds % 60:02d} left" if left < math.inf else ""
        of = "" if self.total is None else f"/{self.total}"
        return f"{self.unit} {self.done}{of}, {rate:.2f} {self.unit}s/s{eta}"

    def finish(self) -> None:
        """Show where it ended, and move off the progress line."""
        if self.done > self._written:
            self._write()
        if self.done and sys.stderr.isatty():
            print(file=sys.stderr)
