"""What every source's rows go through before they count as videos."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path

from data_prep.sources.rows import (
    MEMBER,
    Problem,
    ProblemKind,
    VideoEntry,
    is_unsafe,
    with_suffix,
)
from lightning_artv.files import has_surrogates, one_line
from lightning_artv.names import find_file


def usable(found: Iterator[VideoEntry | Problem], root: Path) -> Iterator[VideoEntry | Problem]:
    """The found videos with absolute paths and clean captions; the unusable ones as problems.

    Args:
        found: their paths are relative to `root`, or `shard.tar::member`.
        root: the folder of videos.
    """
    seen = Seen()
    for item in found:
        if isinstance(item, Problem):
            yield _printable(item)
            continue
        path = item.path if MEMBER in item.path else str(find_file(root, item.path) or "")
        item = dataclasses.replace(item, caption=one_line(item.caption))
        yield _problem(item, root, path) or _unique(dataclasses.replace(item, path=path), seen)


def printable(text: str) -> str:
    """The text with U+FFFD for what is no Unicode."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _printable(problem: Problem) -> Problem:
    return dataclasses.replace(
        problem,
        key=printable(problem.key),
        path=printable(problem.path),
        reason=printable(problem.reason),
    )


def _problem(item: VideoEntry, root: Path, path: str) -> Problem | None:
    """Why the entry cannot be used; `path` is that of its file, or empty."""
    texts = "".join(value for value in vars(item).values() if isinstance(value, str))
    kind: ProblemKind
    if has_surrogates(texts):
        kind, reason = "not_utf8", "its text is not UTF-8: convert the list (iconv -t utf-8)"
    elif not item.key or not item.path:
        kind, reason = "bad_row", "the row names no video"
    elif MEMBER not in item.path and is_unsafe(item.path):
        kind, reason = "unsafe_path", "the path leads out of the folder of videos"
    elif not item.caption:
        kind, reason = "empty_caption", "the caption is empty"
    elif not path:
        kind, reason = "missing_file", f"{os.path.join(root, item.path)} does not exist"
    else:
        return None
    return _printable(Problem(item.key, item.path, kind, reason))


def _unique(item: VideoEntry, seen: Seen) -> VideoEntry | Problem:
    """The entry under a key of its own: `a.mov` after `a.mp4` becomes `a%2Emov`."""
    suffix = os.path.splitext(item.path)[1]
    number = zlib.crc32(suffix.encode()) & 0xFFFF
    for key in (item.key, with_suffix(item.key, suffix)):
        before = seen.first(key, number)
        if before is None:
            return dataclasses.replace(item, key=key)
        if before == number:
            break
    return Problem(item.key, item.path, "duplicate_key", "an earlier row has the same key")


class Seen:
    """Texts with a small number each, in 15 to 30 bytes a text: an open-addressing table of their
    64-bit hashes.

    Two of 10.7 million texts share a hash with a probability of 3e-6; a Python dict of them would
    take more than a gigabyte.
    """

    def __init__(self) -> None:
        self._table, self._numbers = array("Q"), array("H")
        self._count = 0
        self._resize(1024)

    def first(self, text: str, number: int = 0) -> int | None:
        """The number (below 65,536) that came with the text the first time; None: it is new."""
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        value = int.from_bytes(digest, "little") or 1
        slot = self._slot(value)
        if self._table[slot]:
            return self._numbers[slot]
        self._table[slot], self._numbers[slot] = value, number
        self._count += 1
        if 3 * self._count > 2 * len(self._table):
            self._resize(2 * len(self._table))
        return None

    def _resize(self, size: int) -> None:
        old = zip(self._table, self._numbers, strict=True)
        self._table = array("Q", bytes(8 * size))  # 0: free
        self._numbers = array("H", bytes(2 * size))
        for value, number in old:
            if value:
                slot = self._slot(value)
                self._table[slot], self._numbers[slot] = value, number

    def _slot(self, value: int) -> int:
        """Where a hash is, or belongs."""
        table, last = self._table, len(self._table) - 1
        slot = value & last
        while table[slot] and table[slot] != value:
            slot = (slot + 1) & last
        return slot
