"""Which samples shards hold and where each begins, from the tar headers alone.

With it any sample is read at once, so a stream can start anywhere. Headers are skipped through by
seeking; nothing is decoded. For large sets the index is kept in the user's cache folder and renewed
for shards that change.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
import time
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from webdataset.tariterators import base_plus_ext

from lightning_artv.data.tar import KNOWN, RawSample, is_known
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import write_atomically
from lightning_artv.progress import Progress

_META = re.compile(r"__[^/]*__($|/)")
_END = bytes(2 * tarfile.BLOCKSIZE)
_CACHED_FROM = 64
_SAVE_SECONDS = 60.0
_THREADS = 8
_DAMAGE = -1

_UNREADABLE = (OSError, ValueError, KeyError, zipfile.BadZipFile)


@dataclass(frozen=True)
class ShardScan:
    """One shard's samples.

    Attributes:
        offsets: where each begins, in bytes, int64 `[n]`; a last -1 stands for the damage.
        damage: why the shard could not be read to its end, or empty.
    """

    offsets: NDArray[np.int64]
    damage: str = ""


class ShardIndex:
    """The samples of a list of shards, numbered through them in order.

    Args:
        shards: the tar files.
        scans: what is in each.

    Attributes:
        counts: samples of each shard, damage counted as one, int64 `[S]`.
        fingerprint: of the names and counts; another one means another sequence of samples.
    """

    def __init__(self, shards: Sequence[Path], scans: Sequence[ShardScan]) -> None:
        self.shards = tuple(shards)
        self.counts = np.array([len(scan.offsets) for scan in scans], dtype=np.int64)
        self._ends = np.cumsum(self.counts)
        self._offsets = np.concatenate([scan.offsets for scan in scans])
        self._damage = [scan.damage for scan in scans]
        names = "\n".join(f"{p.name} {n}" for p, n in zip(shards, self.counts, strict=True))
        self.fingerprint = blake2b(names.encode(), digest_size=16).hexdigest()

    def __len__(self) -> int:
        return len(self._offsets)

    def read(self, number: int) -> RawSample:
        """Sample `number`, undecoded; damage is a `RawSample` that says so."""
        shard = int(np.searchsorted(self._ends, number, side="right"))
        offset = int(self._offsets[number])
        if offset == _DAMAGE:
            return RawSample("", self.shards[shard], damage=self._damage[shard])
        return read_at(self.shards[shard], offset)


def open_index(shards: Sequence[Path], cache: Path | None = None) -> ShardIndex:
    """The index of `shards`, from the cache where they did not change, else from their headers.

    Args:
        shards: tar files.
        cache: a file to keep it in; None for one in the user's cache folder, and that for large
            sets only.
    """
    if cache is None and len(shards) >= _CACHED_FROM:
        cache = _cache_file(shards)
    stamps = [_stamp(shard) for shard in shards]
    known = _load(cache) if cache is not None else {}
    scans = {str(shard): known[key] for shard, key in _keys(shards, stamps) if key in known}
    missing = [shard for shard in shards if str(shard) not in scans]
    saved = time.monotonic()
    for shard, scan in _scan_all(missing):
        scans[str(shard)] = scan
        if cache is not None and time.monotonic() - saved > _SAVE_SECONDS:
            _save(cache, shards, stamps, scans)
            saved = time.monotonic()
    if cache is not None and missing:
        _save(cache, shards, stamps, scans)
    return ShardIndex(shards, [scans[str(shard)] for shard in shards])


def scan_shard(path: Path) -> ShardScan:
    """Find the samples of a shard, up to its end or to where it is damaged."""
    offsets: list[int] = []
    try:
        with path.open("rb") as file, tarfile.TarFile(fileobj=file) as tar:
            size = file.seek(0, os.SEEK_END)
            key, seen = None, set[str]()
            for name, suffix, member in _members(tar):
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError("unexpected end of data")
                if name != key or suffix in seen:
                    offsets.append(member.offset)
                    key, seen = name, set()
                seen.add(suffix)
            file.seek(tar.offset)
            damage = "" if file.read(len(_END)) == _END else "its end is missing"
    except (tarfile.TarError, OSError) as error:
        damage = str(error)
    if damage:
        damage = f"the shard is truncated or damaged: {damage}"
        offsets.append(_DAMAGE)
    return ShardScan(np.array(offsets, dtype=np.int64), damage)


def read_at(path: Path, offset: int) -> RawSample:
    """The sample that begins at `offset` bytes into a shard."""
    key, files, damage = "", dict[str, bytes](), "it has changed since the run began"
    try:
        with path.open("rb") as file:
            file.seek(offset)
            with tarfile.TarFile(fileobj=file) as tar:
                for name, suffix, member in _members(tar):
                    if files and (name != key or suffix in files):
                        break
                    key, data = name, tar.extractfile(member)
                    assert data is not None  # a regular file
                    files[suffix] = data.read()
    except tarfile.TarError as error:
        damage = str(error)  # counted on its own where it comes after whole files: see `scan_shard`
    except OSError as error:
        files, damage = {}, str(error)
    if not files:
        return RawSample(key, path, damage=f"the shard cannot be read: {damage}")
    return RawSample(key, path, {name: files[name] for name in files if name in KNOWN})


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """(key, suffix, member) of the files that may belong to a sample."""
    for member in tar:
        if member.isreg() and not _META.match(member.name) and is_known(member.name):
            key, suffix = base_plus_ext(member.name)
            if key is not None:
                yield key, suffix.lower(), member


def _scan_all(shards: Sequence[Path]) -> Iterator[tuple[Path, ShardScan]]:
    progress = Progress(len(shards), "shard") if len(shards) >= _CACHED_FROM else None
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for shard, scan in zip(shards, pool.map(scan_shard, shards), strict=True):
                if progress is not None:
                    progress(1, " indexed")
                yield shard, scan
        finally:
            pool.shutdown(cancel_futures=True)
    if progress is not None:
        progress.finish()


def _stamp(shard: Path) -> tuple[int, int]:
    """What changes with a file: size and time."""
    try:
        status = shard.stat()
    except OSError:
        return (0, 0)  # reading it will say what is wrong
    return (status.st_size, status.st_mtime_ns)


def _keys(
    shards: Sequence[Path], stamps: Sequence[tuple[int, int]]
) -> list[tuple[Path, tuple[str, int, int]]]:
    return [(shard, (str(shard), *stamp)) for shard, stamp in zip(shards, stamps, strict=True)]


def _cache_file(shards: Sequence[Path]) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    names = "\n".join(str(shard.absolute()) for shard in shards)
    name = blake2b(names.encode(), digest_size=16).hexdigest()
    return Path(base) / "lightning_artv" / f"shards-{name}.npz"


def _load(cache: Path) -> dict[tuple[str, int, int], ShardScan]:
    """(shard, size, time) -> scan; empty without a readable cache, which costs time only."""
    try:
        with np.load(cache, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        parts = np.split(arrays["offsets"], np.cumsum(arrays["counts"])[:-1])
        rows = zip(arrays["names"], arrays["stamps"], parts, arrays["damage"], strict=True)
        return {
            (str(name), int(size), int(changed)): ShardScan(part, str(damage))
            for name, (size, changed), part, damage in rows
        }
    except _UNREADABLE:
        return {}


def _save(
    cache: Path,
    shards: Sequence[Path],
    stamps: Sequence[tuple[int, int]],
    scans: dict[str, ShardScan],
) -> None:
    """Keep what is known so far."""
    done = [(s, stamp) for s, stamp in zip(shards, stamps, strict=True) if str(s) in scans]
    found = [scans[str(shard)] for shard, _ in done]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        names=np.array([str(shard) for shard, _ in done]),
        stamps=np.array([stamp for _, stamp in done], dtype=np.int64),
        counts=np.array([len(scan.offsets) for scan in found], dtype=np.int64),
        offsets=np.concatenate([scan.offsets for scan in found]),
        damage=np.array([scan.damage for scan in found]),
    )
    try:
        write_atomically(cache, buffer.getvalue())
    except UserError as error:
        warnings.warn(f"The shards will be indexed again next time: {error}", stacklevel=2)
