"""Which files of a tar make a sample: the one rule of everything that reads shards.

It is WebDataset's: consecutive files whose names agree up to the first dot of the last part are one
sample. `docs/data.md` says what becomes of everything else that a tar may hold.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from webdataset.tariterators import base_plus_ext

from lightning_artv.data.headers import (
    DamagedShard,
    OtherHeader,
    headers_of,
    plain_headers,
)

VIDEO_KEYS = (
    *("mp4", "mkv", "avi", "mov", "webm", "m4v", "flv", "ts", "m2ts", "mts"),
    *("mpg", "mpeg", "wmv", "asf", "ogv", "3gp", "mxf", "gif"),
)
"""The extensions of videos; of several in one sample, the first of these counts."""

LATENTS_KEY = "safetensors"
KNOWN = {*VIDEO_KEYS, LATENTS_KEY, "txt", "json"}

_META = re.compile(r"__[^/]*__($|/)")
_HERE = re.compile(r"^(\./+)+")


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
    yield from _grouped(headers_of(file), foreign or Foreign())


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
        return next(_grouped(plain_headers(file, offset, end), Foreign()), None)
    except OtherHeader:
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
