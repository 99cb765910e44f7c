"""Which files of a tar make a sample: the one rule of everything that reads shards.

It is WebDataset's: consecutive files whose names agree up to the first dot of the last part are one
sample. `docs/data.md` says what becomes of everything else that a tar may hold.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from webdataset.tariterators import base_plus_ext

VIDEO_KEYS = (
    *("mp4", "mkv", "avi", "mov", "webm", "m4v", "flv", "ts", "m2ts", "mts"),
    *("mpg", "mpeg", "wmv", "asf", "ogv", "3gp", "mxf", "gif"),
)
"""The extensions of videos; of several in one sample, the first of these counts."""

LATENTS_KEY = "safetensors"
KNOWN = {*VIDEO_KEYS, LATENTS_KEY, "txt", "json"}

_META = re.compile(r"__[^/]*__($|/)")
_HERE = re.compile(r"^(\./+)+")
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


@dataclass
class Group:
    """The files of one sample.

    Attributes:
        key: the sample's name.
        offset: where the header of its first file begins, in bytes.
        files: extension (lower case) -> the file; known extensions only.
        others: its further extensions.
        links: names of known files that are links, or sparse.
    """

    key: str
    offset: int
    files: dict[str, tarfile.TarInfo] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)

    @property
    def content(self) -> str:
        """The extension of its latents, or else of its video; empty without either."""
        found = (name for name in (LATENTS_KEY, *VIDEO_KEYS) if name in self.files)
        return next(found, "")

    @property
    def is_sample(self) -> bool:
        """Whether anything in it could be read; else its files are foreign."""
        return bool(self.files or self.links or any(map(_is_known, self.others)))

    @property
    def is_whole(self) -> bool:
        """Whether it has what a sample needs, should the shard break off right after it."""
        return bool(self.content) and ("txt" in self.files or "json" in self.files)

    @property
    def problem(self) -> str:
        """Why it cannot be used, in one line; or empty."""
        return printable(self._problem())

    def _problem(self) -> str:
        if self.links:
            return f"{self.links[0]} is a link or sparse: pack it with `tar -h --hard-dereference`"
        if self.content:
            return ""
        names = ", ".join(sorted([*self.files, *self.others])) or "none"
        dotted = any(map(_is_known, self.others))
        hint = ": the first dot begins the extension, so keys need names without dots"
        return f"no video among its files ({names}){hint if dotted else ''}"

    def add(self, suffix: str, info: tarfile.TarInfo) -> None:
        """Take a file in."""
        if suffix not in KNOWN:
            self.others.append(suffix)
        elif info.isreg() and not info.issparse():
            self.files[suffix] = info
        else:
            self.links.append(info.name)

    def has(self, suffix: str) -> bool:
        """Whether a file of this extension would be a second one."""
        return suffix in self.files


@dataclass
class Foreign:
    """Counts the files that belong to no sample, and keeps the name of the first."""

    count: int = 0
    example: str = ""

    def add(self, name: str, count: int = 1) -> None:
        """Count some."""
        self.example = self.example or name
        self.count += count


def groups(file: BinaryIO, foreign: Foreign | None = None) -> Iterator[Group]:
    """The samples of a tar from where `file` stands, in order.

    Where the tar breaks off, the sample before that place comes only if it has a video and a text:
    files of it may be missing.

    Args:
        file: is moved between the samples; reading from it in between does no harm.
        foreign: counts what belongs to none.

    Raises:
        DamagedShard: after the last sample, where the tar cannot be read to its end.
    """
    yield from _grouped(_headers(file), foreign or Foreign())


def group_at(file: BinaryIO, offset: int, end: int | None = None) -> Group | None:
    """The sample whose first header is `offset` bytes into a tar; what `groups` finds there first.

    Args:
        file: the tar.
        offset: in bytes.
        end: where the next sample begins, if one does and is known; saves reading its header.

    Raises:
        DamagedShard: as in `groups`.
    """
    try:
        return next(_grouped(_plain_headers(file, offset, end), Foreign()), None)
    except _OtherHeader:
        file.seek(offset)
        return next(groups(file), None)


def _grouped(headers: Iterator[tarfile.TarInfo], foreign: Foreign) -> Iterator[Group]:
    current: Group | None = None
    try:
        for info in headers:
            key, suffix = split(info.name)
            again = info.islnk() and info.linkname == info.name  # tar's way to pack a file twice
            if info.isdir() or key is None or again:
                continue
            if not suffix:
                foreign.add(info.name)
                continue
            if current is None or key != current.key or current.has(suffix):
                yield from _done(current, foreign)
                current = Group(key, info.offset)
            current.add(suffix, info)
    except DamagedShard as damage:
        cut = split(damage.member.name)[0] if damage.member is not None else None
        if current is not None and current.is_whole and cut != current.key:
            yield current
        raise
    yield from _done(current, foreign)


def _done(group: Group | None, foreign: Foreign) -> Iterator[Group]:
    if group is not None and group.is_sample:
        yield group
    elif group is not None:
        foreign.add(f"{group.key}.{group.others[0]}", len(group.others))


def split(name: str) -> tuple[str | None, str]:
    """(key, extension in lower case) of a file in a tar.

    Returns:
        no key for hidden files (`._a.mp4`, of macOS) and WebDataset's `__notes__`; a key and no
        extension where a name has none.
    """
    plain = _HERE.sub("", name) if name.startswith(".") else name
    if plain.rpartition("/")[2].startswith(".") or (plain.startswith("__") and _META.match(plain)):
        return None, ""
    key, suffix = base_plus_ext(plain)
    return (plain, "") if key is None else (key, suffix.lower())


def printable(name: str) -> str:
    """A name from a tar for messages: line breaks and other control characters are escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def _is_known(suffix: str) -> bool:
    return suffix.rpartition(".")[2] in KNOWN


def _headers(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The files of a tar, or of several that were joined by `cat`, from where `file` stands.

    Raises:
        DamagedShard: it cannot be read to its end.
    """
    size = os.fstat(file.fileno()).st_size
    place = file.tell()
    while place < size or place == 0:
        place = _after_end(file, (yield from _of_one_tar(file, place, size)), size)


class _OtherHeader(Exception):  # noqa: N818 - no error: tarfile reads it
    """What is there is not the plain header of a regular file."""


def _plain_headers(file: BinaryIO, place: int, end: int | None) -> Iterator[tarfile.TarInfo]:
    """The files of a tar from `place` to `end`: several times as fast as `tarfile`, which reads
    what is not so plain.

    Raises:
        _OtherHeader: at the first header of another kind, and at the tar's end.
    """
    size = os.fstat(file.fileno()).st_size
    while place != end:
        file.seek(place)
        info = _plain(file.read(_BLOCK))
        if info is None or place + _BLOCK + info.size > size:
            raise _OtherHeader
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
