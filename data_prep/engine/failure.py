"""Why a video cannot be used, as the columns `error_kind` and `error` say it.

Light, and imports no source: an engine's process needs it for any job.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Literal, get_args

from lightning_artv.errors import DecodeError

ErrorKind = Literal[
    "missing_file",
    "unreadable_file",  # permission, an I/O error, a damaged shard
    "empty_file",
    "not_a_video",  # no container that is known
    "no_video_stream",  # audio only
    "damaged",  # its index is missing, or a packet or frame cannot be decoded
    "truncated",  # fewer frames than its header says
    "too_few_frames",  # fewer than 2 that are analysed: there is no motion
    "not_a_picture",  # no format of pictures that is known
    "too_small",  # a picture with no room for a box that moves
    "too_large",  # a picture of more pixels than anybody takes
    "transparent",  # what is behind a picture is not known
    "animated",  # several pictures in one file
    "odd_colours",  # a picture whose numbers are no colours
    "no_caption",  # the captioner says nothing
    "error",  # anything that was not foreseen; the reason names it
]
ERROR_KINDS: tuple[str, ...] = get_args(ErrorKind)


class BadVideo(DecodeError):  # noqa: N818 - what the data is, not what the code did
    """Why a video cannot be used.

    Attributes:
        kind: one of `ERROR_KINDS`.
    """

    def __init__(self, kind: ErrorKind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def words(error: Exception) -> str:
    """One line of a library's message, without the file's path."""
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())


def failure(error: Exception) -> tuple[ErrorKind, str]:
    """The kind and the reason of a failed row, whatever went wrong; the reason is valid Unicode."""
    kind: ErrorKind = "damaged" if isinstance(error, DecodeError) else "error"
    reason = str(error)
    if isinstance(error, BadVideo):
        kind = error.kind
    elif kind == "error":  # nobody foresaw it, so that its place matters
        place = traceback.extract_tb(error.__traceback__)[-1:]
        where = "".join(f" ({Path(at.filename).name}, line {at.lineno})" for at in place)
        reason = f"{type(error).__name__}: {words(error)}{where}"
    return kind, reason.encode("utf-8", "backslashreplace").decode()
