"""Reading and writing the tar files that shards are."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import tarfile
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import braceexpand

from lightning_artv.data.headers import DamagedShard
from lightning_artv.data.members import (
    KNOWN,
    LATENTS_KEY,
    Foreign,
    Group,
    group_at,
    groups,
    split,
)
from lightning_artv.errors import DataError, UserError

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True)
class FilePart:
    """A part of a file that is read when it is needed.

    Attributes:
        path: the file.
        offset: where the part begins, in bytes.
        size: bytes that it has.
    """

    path: Path
    offset: int
    size: int


@dataclass(frozen=True)
class RawSample:
    """The files of one sample, undecoded.

    Attributes:
        key: its name; empty for damage to the shard itself.
        shard: where it lies.
        files: extension (lower case, without a dot) -> contents; only those asked for.
        latents: where its latents lie, if it has some.
        damage: why it cannot be used, or the shard not be read further; or empty.
        content: the extension of its latents, or else of its video; empty without either.
        name: name of that file in the shard.
    """

    key: str
    shard: Path
    files: Mapping[str, bytes] = field(default_factory=dict)
    damage: str = ""
    content: str = ""
    name: str = ""
    latents: FilePart | None = None


def expand(shards: str | Path | Sequence[str | Path]) -> list[Path]:
    """The tar files that an option names: a folder, a brace pattern, a file, or a list of these.

    Raises:
        UserError: a remote or piped source, or a missing path.
        DataError: a folder without shards, or an empty list.
    """
    sources = [shards] if isinstance(shards, str | Path) else list(shards)
    found = [path for source in sources for path in _expand_one(str(source))]
    if not found:
        raise DataError("No shards were named; give a folder of .tar files.")
    return found


def _expand_one(source: str) -> list[Path]:
    if _SCHEME.match(source):
        raise UserError(
            f"Shards are read from local paths only, which {source!r} is not; "
            "copy them to this machine first."
        )
    if Path(source).is_dir():
        return tars_in(Path(source)) or _no_shards_in(Path(source))
    try:
        paths = [Path(path) for path in braceexpand.braceexpand(source)]
    except ValueError as error:
        raise UserError(f"The braces of the shards {source!r} do not match; close them.") from error
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"The shards {path} do not exist; name a folder, a .tar or a brace pattern such as "
                "data/{00000..00009}.tar, or make some with `python -m data_prep`."
            )
    return paths


def tars_in(folder: Path) -> list[Path]:
    """The shards of a folder, sorted; without hidden files, such as macOS's `._00000.tar`."""
    found = (path for path in folder.iterdir() if path.suffix.lower() == ".tar")
    return sorted(path for path in found if not path.name.startswith("."))


def _no_shards_in(folder: Path) -> NoReturn:
    """Say what the folder has instead."""
    names = sorted(path.name for path in folder.iterdir())
    below = [name for name in names if (folder / name).is_dir() and tars_in(folder / name)]
    packed = [name for name in names if ".tar." in name or name.endswith((".tgz", ".tbz", ".txz"))]
    if below:
        what = f"but its folder {below[0]} does: name {folder / below[0]}"
    elif packed:
        what = f"but {packed[0]}, which is compressed: unpack it, for shards are read in place"
    else:
        what = "; make some with `python -m data_prep`"
    raise DataError(
        f"The folder {folder} holds no .tar shards{'' if what[0] == ';' else ', '}{what}."
    )


def read_shard(
    path: Path, wanted: Container[str] = KNOWN, foreign: Foreign | None = None
) -> Iterator[RawSample]:
    """The samples of a shard in order; where it is damaged, a last `RawSample` that says so.

    Args:
        path: a tar.
        wanted: extensions whose files are read.
        foreign: counts the files that belong to no sample.
    """
    try:
        with path.open("rb") as file:
            for group in groups(file, foreign):
                yield _read(file, path, group, wanted)
    except DamagedShard as damage:
        yield RawSample("", path, damage=f"{TRUNCATED}: {damage}")
    except OSError as error:
        yield RawSample("", path, damage=f"the shard cannot be read ({error.strerror})")


TRUNCATED = "the shard is truncated or damaged"


def read_at(
    path: Path, offset: int, wanted: Container[str] = KNOWN, end: int | None = None
) -> RawSample:
    """The sample that begins at `offset` bytes into a shard, and the next one at `end`."""
    reason = "it has changed since the run began"
    try:
        with path.open("rb") as file:
            group = group_at(file, offset, end)
            if group is not None and group.offset == offset:
                return _read(file, path, group, wanted)
    except DamagedShard as damage:
        reason = f"{reason} ({damage})"
    except OSError as error:
        reason = str(error)
    return RawSample("", path, damage=f"the shard cannot be read: {reason}")


def _read(file: BinaryIO, path: Path, group: Group, wanted: Container[str]) -> RawSample:
    files, latents = {}, None
    for suffix, info in group.files.items():
        if suffix == LATENTS_KEY:
            latents = FilePart(path, info.offset_data, info.size)
        if suffix in wanted:
            file.seek(info.offset_data)
            files[suffix] = file.read(info.size)
    name = group.files[group.content].name if group.content else ""
    return RawSample(group.key, path, files, group.problem, group.content, name, latents)


class ShardWriter:
    """Writes samples to `00000.tar`, `00001.tar`, ... in a folder; use as a context manager.

    A shard appears under its name only when complete; on an error the unfinished one is removed.
    The bytes depend on the samples only (no times, no owners).

    Args:
        folder: made if absent.
        samples_per_shard: number of samples, at least 1.
        first: number of the first shard.

    Attributes:
        shards: the finished shards so far.
        count: samples written so far.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """

    def __init__(self, folder: str | Path, samples_per_shard: int = 1000, first: int = 0) -> None:
        if samples_per_shard < 1:
            raise UserError(f"A shard needs at least 1 sample, got {samples_per_shard}.")
        self.folder = Path(folder)
        self.samples_per_shard = samples_per_shard
        self.shards: list[Path] = []
        self.count = 0
        self._number = first
        self._in_shard = 0
        self._tar: tarfile.TarFile | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def write(
        self,
        key: str,
        video: bytes,
        caption: str,
        meta: Mapping[str, Any],
        extension: str = "mp4",
    ) -> None:
        """Add one sample.

        Args:
            key: its name, unique; without dots after the last slash, which would be read as the
                start of the extension.
            video: an mp4's bytes, or what `extension` says.
            caption: one line of text.
            meta: what goes into `key.json`.
        """
        if split(f"{key}.{extension}") != (key, extension):
            raise ValueError(f"A sample's key must be a plain name without dots, got {key!r}.")
        try:
            if self._tar is None:
                self._tar = tarfile.TarFile(self._temporary, "w", format=tarfile.USTAR_FORMAT)
            self._add(f"{key}.{extension}", video)
            self._add(f"{key}.txt", caption.encode())
            self._add(f"{key}.json", json.dumps(meta, sort_keys=True).encode())
            self.count += 1
            self._in_shard += 1
            if self._in_shard == self.samples_per_shard:
                self._finish()
        except OSError as error:
            self._discard()
            raise _cannot_write(self.folder, error) from error

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *why: object) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._finish()
        except OSError as failure:
            self._discard()
            raise _cannot_write(self.folder, failure) from failure

    @property
    def _temporary(self) -> Path:
        return self.folder / f".{self._number:05d}.tar.tmp"

    def _add(self, name: str, data: bytes) -> None:
        assert self._tar is not None
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o644
        short = len(name.encode()) <= tarfile.LENGTH_NAME
        self._tar.format = tarfile.USTAR_FORMAT if short else tarfile.PAX_FORMAT
        self._tar.addfile(info, io.BytesIO(data))

    def _finish(self) -> None:
        if self._tar is None:
            return
        self._tar.close()
        final = self.folder / f"{self._number:05d}.tar"
        os.replace(self._temporary, final)
        self._tar = None
        self.shards.append(final)
        self._number += 1
        self._in_shard = 0

    def _discard(self) -> None:
        if self._tar is None:
            return
        # Closing the TarFile would write its end marker, which fails again on a full disk.
        assert self._tar.fileobj is not None
        with contextlib.suppress(OSError):  # the buffered rest of a file that is deleted next
            self._tar.fileobj.close()
        self._tar = None
        self._temporary.unlink(missing_ok=True)


def _cannot_write(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"Shards cannot be written to {folder} ({error.strerror or error}); "
        "free space or choose another folder."
    )
