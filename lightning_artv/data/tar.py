"""Reading and writing the tar files that shards are."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import braceexpand
from webdataset.tariterators import group_by_keys, tar_file_expander

from lightning_artv.errors import DataError, UserError

VIDEO_KEYS = ("mp4", "mkv", "avi", "mov", "webm", "m4v")
KNOWN = {*VIDEO_KEYS, "safetensors", "txt", "json"}
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class RawSample:
    """The files of one sample, undecoded.

    Attributes:
        key: its name; empty for damage to the shard itself.
        shard: where it lies.
        files: extension (lower case, without a dot) -> contents; only known extensions.
        damage: why the shard could not be read further, or empty.
    """

    key: str
    shard: Path
    files: Mapping[str, bytes] = field(default_factory=dict)
    damage: str = ""


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
        found = sorted(Path(source).glob("*.tar"))
        if not found:
            raise DataError(
                f"The folder {source} holds no .tar shards; make some with `python -m data_prep`."
            )
        return found
    paths = [Path(path) for path in braceexpand.braceexpand(source)]
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"The shards {path} do not exist; make some with `python -m data_prep`."
            )
    return paths


def read_shard(path: Path) -> Iterator[RawSample]:
    """The samples of a shard in order; where it is damaged, a last `RawSample` that says so."""
    damage: list[str] = []

    def note(error: Exception) -> bool:
        damage.append(str(error.args[0]).split(" @ ")[0] if error.args else type(error).__name__)
        return False  # what follows a damaged place cannot be trusted

    try:
        stream = path.open("rb")
    except OSError as error:
        yield RawSample("", path, damage=f"the shard cannot be opened ({error.strerror})")
        return
    with stream:
        files = tar_file_expander(
            [{"url": str(path), "stream": stream}], handler=note, select_files=is_known
        )
        for sample in group_by_keys(files, handler=note):
            key = str(sample["__key__"])
            yield RawSample(key, path, {k: v for k, v in sample.items() if k in KNOWN})
        if damage or not is_complete(path):
            reason = damage[0] if damage else "its end is missing"
            yield RawSample("", path, damage=f"the shard is truncated or damaged: {reason}")


def is_known(name: str) -> bool:
    """Whether a file of this name may belong to a sample."""
    return name.rpartition(".")[2].lower() in KNOWN


def is_complete(path: Path) -> bool:
    """Whether a tar ends as a tar should, in two empty blocks; a reader does not notice when it is
    cut between files.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < 2 * _BLOCK:
            return False
        file.seek(-2 * _BLOCK, os.SEEK_END)
        return file.read() == bytes(2 * _BLOCK)


class ShardWriter:
    """Writes samples to `00000.tar`, `00001.tar`, ... in a folder; use as a context manager.

    A shard appears under its name only when complete; on an error the unfinished one is removed.
    The bytes depend on the samples only (no times, no owners).

    Args:
        folder: made if absent.
        samples_per_shard: at least 1.
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
            key: its name, without dots (they would be read as the start of the extension) and
                unique.
            video: an mp4's bytes, or what `extension` says.
            caption: one line of text.
            meta: what goes into `key.json`.
        """
        if not key or "." in key or "/" in key:
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
