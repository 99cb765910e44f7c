"""Which samples shards hold and where each begins, from the tar headers alone.

With it any sample is read at once, so a stream can start anywhere. Headers are skipped through by
seeking; nothing is decoded. For large sets the index is kept in the user's cache folder and renewed
for shards that change.
"""

from __future__ import annotations

import io
import os
import time
import warnings
import zipfile
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_artv.data.headers import DamagedShard
from lightning_artv.data.members import KNOWN, Foreign, groups
from lightning_artv.data.tar import TRUNCATED, RawSample, read_at
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import write_atomically
from lightning_artv.progress import Progress

_CACHED_FROM = 64
_SAVE_SECONDS = 60.0
_THREADS = 8
_DAMAGE = -1
_RULE = 2
"""Of what a sample is; another number makes old caches invalid."""

_UNREADABLE = (OSError, ValueError, KeyError, zipfile.BadZipFile)


@dataclass(frozen=True)
class ShardScan:
    """One shard's samples.

    Attributes:
        offsets: where each begins, in bytes, int64 `[n]`; a last -1 stands for the damage.
        damage: why the shard could not be read to its end, or empty.
        foreign: how many of its files belong to no sample.
        example: the name of the first of these.
    """

    offsets: NDArray[np.int64]
    damage: str = ""
    foreign: int = 0
    example: str = ""


class ShardIndex:
    """The samples of a list of shards, numbered through them in order.

    Args:
        shards: the tar files.
        scans: what is in each.

    Attributes:
        counts: samples of each shard, damage counted as one, int64 `[S]`.
        fingerprint: digest of the names and counts; another one means another sequence of samples.
        foreign: which files belong to no sample, in words; empty where all do.
    """

    def __init__(self, shards: Sequence[Path], scans: Sequence[ShardScan]) -> None:
        self.shards = tuple(shards)
        self.counts = np.array([len(scan.offsets) for scan in scans], dtype=np.int64)
        self._ends = np.cumsum(self.counts)
        self._offsets = np.concatenate([scan.offsets for scan in scans])
        self._damage = [scan.damage for scan in scans]
        names = "\n".join(f"{p.name} {n}" for p, n in zip(shards, self.counts, strict=True))
        self.fingerprint = blake2b(names.encode(), digest_size=16).hexdigest()
        self.foreign = _foreign(shards, scans)

    @classmethod
    def joined(cls, indexes: Sequence[ShardIndex]) -> ShardIndex:
        """The samples of several, numbered one index after the other."""
        scans = [
            ShardScan(offsets, damage)
            for index in indexes
            for offsets, damage in zip(
                np.split(index._offsets, index._ends[:-1]), index._damage, strict=True
            )
        ]
        return cls([shard for index in indexes for shard in index.shards], scans)

    def __len__(self) -> int:
        return len(self._offsets)

    def read(self, number: int, wanted: Container[str] = KNOWN) -> RawSample:
        """Sample `number`, undecoded; damage is a `RawSample` that says so.

        Args:
            number: number of the sample.
            wanted: extensions whose files are read.
        """
        shard = int(np.searchsorted(self._ends, number, side="right"))
        offset = int(self._offsets[number])
        if offset == _DAMAGE:
            return RawSample("", self.shards[shard], damage=self._damage[shard])
        is_last = number + 1 >= self._ends[shard] or self._offsets[number + 1] == _DAMAGE
        end = None if is_last else int(self._offsets[number + 1])
        return read_at(self.shards[shard], offset, wanted, end)


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
    foreign, damage = Foreign(), ""
    try:
        with path.open("rb") as file:
            offsets.extend(group.offset for group in groups(file, foreign))
    except (DamagedShard, OSError) as error:
        damage = f"{TRUNCATED}: {error}"
        offsets.append(_DAMAGE)
    return ShardScan(np.array(offsets, np.int64), damage, foreign.count, foreign.example)


def _foreign(shards: Sequence[Path], scans: Sequence[ShardScan]) -> str:
    count = sum(scan.foreign for scan in scans)
    having = ((s, scan) for s, scan in zip(shards, scans, strict=True) if scan.foreign)
    shard, first = next(having, (None, None))
    if shard is None or first is None:
        return ""
    return f"{count} files belong to no sample, such as {first.example!r} in {shard.name}"


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
        if int(arrays["rule"]) != _RULE:
            return {}
        columns = (arrays[name] for name in ("names", "stamps", "damage", "foreign", "example"))
        return {
            (str(name), int(size), int(changed)): ShardScan(part, str(damage), int(n), str(example))
            for part, name, (size, changed), damage, n, example in zip(parts, *columns, strict=True)
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
        foreign=np.array([scan.foreign for scan in found], dtype=np.int64),
        example=np.array([scan.example for scan in found]),
        rule=np.array(_RULE),
    )
    try:
        write_atomically(cache, buffer.getvalue())
    except UserError as error:
        warnings.warn(f"The shards will be indexed again next time: {error}", stacklevel=2)
