"""A progress line on stderr."""

from __future__ import annotations

import sys
import time


class Progress:
    """`frame 12/64, 3.1 frames/s, 0:17 left` on stderr, on one line of a terminal."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._start = self._shown = time.monotonic()

    def __call__(self, frames: int) -> None:
        """`frames` more frames are written."""
        self.done += frames
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if now - self._shown < (0.1 if terminal else 10) and self.done < self.total:
            return
        self._shown = now
        print(self.line(now), end="\r" if terminal else "\n", file=sys.stderr, flush=True)

    def line(self, now: float) -> str:
        """The progress at time `now`."""
        rate = self.done / max(now - self._start, 1e-9)
        left = round((self.total - self.done) / max(rate, 1e-9))
        eta = f"{left // 60}:{left % 60:02d}"
        return f"frame {self.done}/{self.total}, {rate:.2f} frames/s, {eta} left"

    def finish(self) -> None:
        """Move off the progress line."""
        if self.done and sys.stderr.isatty():
            print(file=sys.stderr)
