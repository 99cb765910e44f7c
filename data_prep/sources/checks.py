"""What every source's rows go through before they count as videos."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from array import array
from collections.abc import Iterator
from pathlib import Path

from data_prep.rows import MEMBER, Problem, ProblemKind, VideoEntry, is_unsafe

_SURROGATE = re.compile("[\ud800-\udfff]")


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
        path = item.path if MEMBER in item.path else os.path.join(root, item.path)
        item = dataclasses.replace(item, caption=one_line(item.caption))
        problem = _problem(item, path) or _duplicate(item, seen)
        yield problem or dataclasses.replace(item, path=path)


def one_line(text: str) -> str:
    """The words of a text with single blanks between them."""
    return " ".join(text.replace("\0", " ").split())


def has_surrogates(text: str) -> bool:
    """Whether bytes that are no UTF-8 went into a text (read with `surrogateescape`), or half of
    an escaped pair did; such a text cannot be written."""
    return not text.isascii() and _SURROGATE.search(text) is not None


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


def _problem(item: VideoEntry, path: str) -> Problem | None:
    """Why the entry cannot be used; `path` is where its file should be."""
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
    elif MEMBER not in path and not os.path.isfile(path):
        kind, reason = "missing_file", f"{path} does not exist"
    else:
        return None
    return _printable(Problem(item.key, item.path, kind, reason))


def _duplicate(item: VideoEntry, seen: Seen) -> Problem | None:
    if seen.add(item.key):
        return None
    return Problem(item.key, item.path, "duplicate_key", "an earlier row has the same key")


class Seen:
    """A set of texts in 12 to 24 bytes each: an open-addressing table of their 64-bit hashes.

    Two of 10.7 million texts share a hash with a probability of 3e-6; a Python set of them would
    take more than a gigabyte.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * 1024))  # 0: free
        self._count = 0

    def add(self, text: str) -> bool:
        """Whether the text is new; it counts as seen from now on."""
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        if not self._insert(int.from_bytes(digest, "little") or 1):
            return False
        self._count += 1
        if 3 * self._count > 2 * len(self._table):
            old = self._table
            self._table = array("Q", bytes(8 * 2 * len(old)))
            for value in old:
                if value:
                    self._insert(value)
        return True

    def _insert(self, value: int) -> bool:
        table, mask = self._table, len(self._table) - 1
        slot = value & mask
        while table[slot]:
            if table[slot] == value:
                return False
            slot = (slot + 1) & mask
        table[slot] = value
        return True
