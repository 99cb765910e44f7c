"""What a source lists: videos that can be analysed, and rows that cannot be used."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

MEMBER = "::"
"""Between a shard and the name of a video in it: `/data/00000.tar::000000012.mp4`."""

ProblemKind = Literal[
    "bad_row",  # a row without the fields that name its video, or that is no CSV or JSON
    "not_utf8",  # text in another encoding, such as cp1251
    "empty_caption",
    "unsafe_path",  # absolute, or with `..`: it leads out of the folder of videos
    "missing_file",
    "duplicate_key",
    "not_downloaded",  # video2dataset could not fetch it
    "damaged_shard",  # a tar or its table cannot be read to its end
]
PROBLEM_KINDS: tuple[str, ...] = get_args(ProblemKind)

_LONGEST_KEY = 90  # bytes; `key.json` must fit into a tar header's 100
_UNSAFE = re.compile(r"[%./\\\s\x00-\x1f\x7f]")


ROUNDED = 5e-4
"""Seconds by which a time that was written down may differ from the frame's."""


class Span(NamedTuple):
    """A stretch of a video, in seconds since its first frame; `end` None is the video's."""

    start: float = 0.0
    end: float | None = None

    def indices(self, times: Sequence[float]) -> range:
        """The frames in it, the start's included and the end's not; `times` are of all frames."""
        stop = len(times) if self.end is None else bisect_left(times, self.end - ROUNDED)
        return range(bisect_left(times, self.start - ROUNDED), stop)

    def __str__(self) -> str:
        return f"from {self.start:g} s" + ("" if self.end is None else f" to {self.end:g} s")


WHOLE = Span()


@dataclass(frozen=True)
class VideoEntry:
    """One video of a source.

    Attributes:
        key: unique in its source, and a shard's sample can be called so (see `key_of`).
        path: path of the file, absolute; `shard.tar::member` for a video inside a shard.
        caption: one line of text, stripped, not empty.
        duration: seconds, as the source states them.
        page_dir: WebVid's folder.
        label: UCF-101's class, spelt as its folder.
        split: MSR-VTT's `train`, `validate` or `test`.
        aesthetic: OpenVid's aesthetic score.
        source_motion: OpenVid's motion score, which is not PySceneDetect's.
        temporal_consistency: OpenVid's score.
        camera_motion: OpenVid's words, such as `pan_left`.
    """

    key: str
    path: str
    caption: str
    duration: float | None = None
    page_dir: str | None = None
    label: str | None = None
    split: str | None = None
    aesthetic: float | None = None
    source_motion: float | None = None
    temporal_consistency: float | None = None
    camera_motion: str | None = None

    @property
    def span(self) -> Span:
        """What of the file is meant."""
        return WHOLE


@dataclass(frozen=True)
class Piece(VideoEntry):
    """A piece of a video, in its file.

    Attributes:
        start: seconds since the video's first frame.
        end: the same, the piece's end.
    """

    start: float | None = None
    end: float | None = None

    @property
    def span(self) -> Span:
        return Span(self.start or 0.0, self.end)


@dataclass(frozen=True)
class Problem:
    """A row of a source that cannot be used.

    Attributes:
        key: the row's key, or where it is (`line 12`) if it has none.
        path: path of its video as far as known, else empty.
        kind: one of `PROBLEM_KINDS`.
        reason: one sentence.
    """

    key: str
    path: str
    kind: ProblemKind
    reason: str


def key_of(name: str) -> str:
    """A shard's sample name for a relative path: without its extension, safe characters only.

    `%`, `.`, slashes, blanks and control characters become `%XX`, so that two names never give one
    key; what is too long for a tar header is cut and ends in 16 digits of its sha256.
    """
    return _short(_UNSAFE.sub(_escape, posixpath.splitext(name)[0]))


def with_suffix(key: str, suffix: str) -> str:
    """A second key for a file whose first one is taken by a file of another suffix."""
    return _short(key + _UNSAFE.sub(_escape, suffix))


def _short(key: str) -> str:
    data = key.encode("utf-8", "replace")
    if len(data) <= _LONGEST_KEY:
        return key
    start = data[: _LONGEST_KEY - 17].decode("utf-8", "ignore")
    return f"{start}-{hashlib.sha256(data).hexdigest()[:16]}"


def _escape(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8"))


def is_unsafe(path: str) -> bool:
    """Whether a listed path is absolute or has `..`: it could lead out of the folder of videos."""
    parts = path.replace("\\", "/").split("/")
    return parts[0] == "" or ".." in parts or os.path.isabs(path) or "\0" in path
