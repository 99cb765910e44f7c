"""A progress line on stderr."""

from __future__ import annotations

import sys
import time


class Progress:
    """`frame 12/64, 3.1 frames/s, 0:17 left` on stderr, on one line of a terminal.

    Args:
        total: when it is finished.
        unit: what is counted.
        start: what was done before, by an interrupted run; it does not count for the rate.
    """

    def __init__(self, total: int, unit: str = "frame", start: int = 0) -> None:
        self.total, self.unit = total, unit
        self.done = self._before = start
        self._start = self._shown = time.monotonic()

    def __call__(self, more: int, note: str = "") -> None:
        """`more` is done; `note` is added to the line."""
        self.done += more
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if now - self._shown < (0.1 if terminal else 10) and self.done < self.total:
            return
        self._shown = now
        end = "\033[K\r" if terminal else "\n"
        print(self.line(now) + note, end=end, file=sys.stderr, flush=True)

    def line(self, now: float) -> str:
        """The progress at time `now`."""
        rate = (self.done - self._before) / max(now - self._start, 1e-9)
        left = round((self.total - self.done) / max(rate, 1e-9))
        eta = f"{left // 60}:{left % 60:02d}"
        return f"{self.unit} {self.done}/{self.total}, {rate:.2f} {self.unit}s/s, {eta} left"

    def finish(self) -> None:
        """Move off the progress line."""
        if self.done and sys.stderr.isatty():
            print(file=sys.stderr)
