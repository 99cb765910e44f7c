"""A video of a source as something that a decoder can open, or the reason why it is none."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import av
from av.container import InputContainer

from data_prep.engine.failure import BadVideo, ErrorKind, words
from data_prep.sources.rows import MEMBER
from lightning_artv.data.headers import DamagedShard
from lightning_artv.data.members import groups
from lightning_artv.media.container import open_container, video_stream

_SIGNATURES = (b"ftyp", b"moov", b"mdat", b"RIFF", b"\x1a\x45\xdf\xa3")


def read_source(path: str) -> bytes | Path:
    """The bytes of a video inside a shard (`shard.tar::member`), or an ordinary file's path.

    Raises:
        BadVideo: nothing there, nothing in it, or it cannot be read.
    """
    try:
        if MEMBER in path:
            data = _member(*path.split(MEMBER, 1))
            size = len(data)
        else:
            with open(path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
    except FileNotFoundError as error:
        raise BadVideo("missing_file", f"{path} does not exist") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        raise BadVideo("unreadable_file", f"{path} cannot be read ({words(error)})") from error
    if size == 0:
        raise BadVideo("empty_file", "the file is empty")
    return data if MEMBER in path else Path(path)


def open_video(source: bytes | Path) -> InputContainer:
    """The container of a video (see `open_container`), to be closed by the caller.

    Raises:
        BadVideo: no video container, a damaged one, or one without a video stream.
    """
    try:
        container = open_container(source)
    except (av.FFmpegError, OSError, ValueError) as error:
        kind: ErrorKind = "damaged" if _has_signature(source) else "not_a_video"
        raise BadVideo(kind, f"it cannot be opened as a video ({words(error)})") from error
    if video_stream(container) is None:
        container.close()
        raise BadVideo("no_video_stream", "it has no video stream")
    return container


def _has_signature(source: bytes | Path) -> bool:
    if isinstance(source, bytes):
        start = source[:12]
    else:
        with source.open("rb") as file:
            start = file.read(12)
    return any(start.startswith(mark) or start[4:].startswith(mark) for mark in _SIGNATURES)


def _member(shard: str, member: str) -> bytes:
    state = os.stat(shard)
    places, damage = _members(shard, state.st_size, state.st_mtime_ns)
    place = places.get(member)
    if place is None:
        raise OSError(f"the shard is damaged: {damage}") if damage else FileNotFoundError(member)
    offset, size = place
    with open(shard, "rb") as file:
        file.seek(offset)
        return file.read(size)


@lru_cache(maxsize=4)  # videos of one shard are asked for one after the other
def _members(shard: str, size: int, changed: int) -> tuple[dict[str, tuple[int, int]], str]:
    """Where each sample's video lies, and the shard's damage; size and time are the cache's.

    Returns:
        name -> (offset, size) of the first video of that name in a sample that can be used; why the
        shard cannot be read further.
    """
    found: dict[str, tuple[int, int]] = {}
    try:
        with open(shard, "rb") as file:
            for group in groups(file):
                if not group.problem:
                    info = group.files[group.content]
                    found.setdefault(info.name, (info.offset_data, info.size))
    except DamagedShard as damage:
        return found, str(damage)
    return found, ""
