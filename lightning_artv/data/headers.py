"""The headers of a tar, whole, joined or cut off, in order."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Generator, Iterator
from typing import BinaryIO

_BLOCK = tarfile.BLOCKSIZE
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)
_RENAMING = {"path", "size", "linkpath"}
_FORMATS = {
    b"\x1f\x8b": "it is compressed: unpack it (`gzip -dc`)",
    b"BZh": "it is compressed: unpack it (`bzip2 -dc`)",
    b"\xfd7zXZ": "it is compressed: unpack it (`xz -dc`)",
    b"\x28\xb5\x2f\xfd": "it is compressed: unpack it (`zstd -dc`)",
    b"PK": "it is a zip file: make a tar of its contents",
    b"version https://git-lfs": "it is a pointer of Git LFS: fetch the file (`git lfs pull`)",
}


class DamagedShard(Exception):  # noqa: N818 - what the data is, not what the code did
    """A tar cannot be read further.

    Attributes:
        member: the file that is cut off, where it is known.
    """

    def __init__(self, reason: str, member: tarfile.TarInfo | None = None) -> None:
        super().__init__(reason)
        self.member = member


def headers_of(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The files of a tar, or of several that were joined by `cat`, from where `file` stands.

    Raises:
        DamagedShard: it cannot be read to its end.
    """
    size = os.fstat(file.fileno()).st_size
    place = file.tell()
    while place < size or place == 0:
        place = _after_end(file, (yield from _of_one_tar(file, place, size)), size)


class OtherHeader(Exception):  # noqa: N818 - no error: tarfile reads it
    """What is there is not the plain header of a regular file."""


def plain_headers(file: BinaryIO, place: int, end: int | None) -> Iterator[tarfile.TarInfo]:
    """The files of a tar from `place` to `end`: several times as fast as `tarfile`, which reads
    what is not so plain.

    Raises:
        OtherHeader: at the first header of another kind, and at the tar's end.
    """
    size = os.fstat(file.fileno()).st_size
    while place != end:
        file.seek(place)
        info = _plain(file.read(_BLOCK))
        if info is None or place + _BLOCK + info.size > size:
            raise OtherHeader
        info.offset, info.offset_data = place, place + _BLOCK
        yield info
        place += _BLOCK + -(-info.size // _BLOCK) * _BLOCK


def _plain(block: bytes) -> tarfile.TarInfo | None:
    """The regular file of a whole and simple header; None of any other."""
    try:
        sums, size = int(block[148:156].strip(b" \0"), 8), int(block[124:136].strip(b" \0"), 8)
    except ValueError:
        return None
    if block[156:157] not in _REGULAR or sum(block) - sum(block[148:156]) + 256 != sums or size < 0:
        return None
    name, prefix = block[:100].partition(b"\0")[0], block[345:500].partition(b"\0")[0]
    path = prefix + b"/" + name if prefix else name
    info = tarfile.TarInfo(path.decode("utf-8", "backslashreplace"))
    info.size = size
    return None if info.name.endswith("/") else info  # an old tar's folder


def _of_one_tar(file: BinaryIO, place: int, size: int) -> Generator[tarfile.TarInfo, None, int]:
    """The files of one tar; returns where it ends."""
    file.seek(place)
    tar = None
    try:
        tar = tarfile.TarFile(fileobj=file, encoding="utf-8", errors="backslashreplace")
        while (info := tar.next()) is not None:
            if info.size < 0 or tar.offset <= info.offset:
                raise DamagedShard("invalid header")
            if tar.offset > size:
                raise DamagedShard("unexpected end of data", info)
            if _RENAMING & tar.pax_headers.keys():
                raise DamagedShard("a pax header renames all files: pack it again")
            yield info
            tar.members.clear()  # type: ignore[attr-defined]
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
        raise DamagedShard(str(error) if tar or place else _what(file)) from error
    return tar.offset


def _after_end(file: BinaryIO, place: int, size: int) -> int:
    """Where the next tar begins, after the empty blocks at `place`; the file's size without one."""
    start = place
    file.seek(place)
    while block := file.read(_BLOCK):
        if block.strip(b"\0"):
            break
        place += len(block)
    if place == start < size:
        raise DamagedShard("invalid header")
    if place == size and place - start < 2 * _BLOCK:
        raise DamagedShard("its end is missing")
    return place


def _what(file: BinaryIO) -> str:
    """What a file is that does not begin like a tar."""
    file.seek(0)
    start = file.read(_BLOCK)
    known = (words for magic, words in _FORMATS.items() if start.startswith(magic))
    return next(known, "it is no tar" if start else "it is empty")
