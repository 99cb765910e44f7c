"""What every command that writes a data set shares: all or nothing, and progress."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lightning_artv.errors import UserError


@contextlib.contextmanager
def building(out: Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder to build `out` in, which takes its place on success and is removed on any error.

    Raises:
        UserError: `out` is a file, holds shards that are not to be overwritten or anything else,
            or cannot be written.
    """
    if out.is_file():
        raise UserError(f"{out} is a file; choose another name for the folder of shards.")
    held = list(out.iterdir()) if out.is_dir() else []
    foreign = [path.name for path in held if path.suffix != ".tar"]
    if foreign:
        raise UserError(f"{out} holds {foreign[0]}, which is no shard; choose another folder.")
    if held and not overwrite:
        raise UserError(f"{out} holds shards already; choose another folder or add --overwrite.")
    temporary = out.with_name(out.name + ".tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{temporary} cannot be made ({error.strerror}).") from error
    try:
        yield temporary
        if out.exists():
            shutil.rmtree(out)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class Progress:
    """A line on stderr with count, rate and time left: redrawn, or every 10 s in a log."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self._start = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._drawn = self._start

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        now = time.monotonic()
        if now - self._drawn >= (0.2 if self._terminal else 10.0):
            self._drawn = now
            self._draw("\r" if self._terminal else "", "" if self._terminal else "\n")

    def close(self) -> None:
        """Draw the final line."""
        self._draw("\r" if self._terminal else "", "\n")

    def _draw(self, before: str, after: str) -> None:
        rate = self.done / max(time.monotonic() - self._start, 1e-9)
        left = (self.total - self.done) / rate if rate else 0.0
        line = f"{self.what}: {self.done}/{self.total}, {rate:.1f}/s, {left:.0f} s left"
        print(f"{before}{line}", end=after, file=sys.stderr, flush=True)
