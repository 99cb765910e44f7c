"""A finished shard on disk: `00000.tar`, beside it `00000.parquet` and `00000_stats.json`.

The layout is video2dataset's. The three appear in this order, so a shard is finished when its
stats are there; they also say which videos the shard took, so that it can be made again alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_prep.tables import STATUS, Row, TableWriter, sha256
from data_prep.tables.provenance import MARK
from lightning_artv.data.tar import tars_in
from lightning_artv.errors import DataError
from lightning_artv.media.atomic import write_atomically
from lightning_artv.numbers import whole_number

MANIFEST = "manifest.json"

SAMPLES = pa.schema(
    [
        ("sample", pa.string()),  # its name in the tar; null where nothing was stored
        ("key", pa.string()),  # of the video
        ("path", pa.string()),
        ("caption", pa.string()),
        ("start", pa.float64()),  # seconds into the video
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("fps", pa.float64()),
        ("frames", pa.int64()),
        ("duration", pa.float64()),
        ("size_bytes", pa.int64()),
        ("copied", pa.bool_()),
        ("motion", pa.float64()),
        ("clip_score", pa.float64()),
        *STATUS,
    ]
)
"""One row per sample, and one for each video that gave none."""


@dataclass(frozen=True, order=True)
class Place:
    """Where a shard begins: the video's position among the kept ones, and its clip."""

    video: int = 0
    clip: int = 0


@dataclass(frozen=True)
class Shard:
    """A finished shard.

    Attributes:
        name: `00000`.
        samples: how many its tar holds; without any, there is no tar.
        first, end: the place of its first sample, and of the next shard's.
        files: name -> (sha256, bytes).
    """

    name: str
    samples: int
    first: Place
    end: Place
    files: Mapping[str, tuple[str, int]]

    def to_json(self) -> dict[str, Any]:
        """The shard's entry in the manifest."""
        return {
            "name": self.name,
            "samples": self.samples,
            "first": [self.first.video, self.first.clip],
            "end": [self.end.video, self.end.clip],
            "files": {n: {"sha256": h, "bytes": b} for n, (h, b) in sorted(self.files.items())},
        }

    @staticmethod
    def from_json(fields: Mapping[str, Any]) -> Shard:
        """The shard of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        files = {n: (str(f["sha256"]), int(f["bytes"])) for n, f in fields["files"].items()}
        return Shard(
            str(fields["name"]),
            int(fields["samples"]),
            Place(*map(int, fields["first"])),
            Place(*map(int, fields["end"])),
            files,
        )


def shard_name(number: int) -> str:
    """`00000`."""
    return f"{number:05d}"


def finish_shard(
    folder: Path,
    number: int,
    rows: Sequence[Row],
    first: Place,
    end: Place,
    made_by: Mapping[str, Any],
) -> Shard:
    """Write the table and the stats beside a shard's tar, which is there already."""
    name = shard_name(number)
    with TableWriter(folder / f"{name}.parquet", SAMPLES, made_by) as writer:
        writer.write(rows)
    stored = sum(row["status"] == "ok" for row in rows)
    files = {
        path.name: (sha256(path), path.stat().st_size)
        for path in (folder / f"{name}.tar", folder / f"{name}.parquet")
        if path.exists()
    }
    shard = Shard(name, stored, first, end, files)
    kinds = Counter("success" if r["status"] == "ok" else r["error_kind"] for r in rows)
    stats = {
        "count": len(rows),
        "successes": stored,
        "failed_to_download": 0,
        "failed_to_subsample": len(rows) - stored,
        "status_dict": dict(sorted(kinds.items())),
        "shard": shard.to_json(),
    }
    text = json.dumps(stats, indent=1, sort_keys=True, ensure_ascii=False)
    write_atomically(folder / f"{name}_stats.json", text.encode())
    return shard


def finished_shards(folder: Path) -> Iterator[Shard]:
    """The finished shards from `00000` on, up to the first that is missing or unreadable."""
    number = 0
    while (path := folder / f"{shard_name(number)}_stats.json").is_file():
        try:
            shard = Shard.from_json(json.loads(path.read_bytes())["shard"])
        except (ValueError, KeyError, TypeError):
            return
        yield shard
        number += 1


def write_manifest(folder: Path, made_by: Mapping[str, Any], shards: Sequence[Shard]) -> None:
    """Write `manifest.json`: what made the shards, and the sha256 of every file."""
    entries = []
    for shard in shards:
        stats = folder / f"{shard.name}_stats.json"
        files = {**shard.files, stats.name: (sha256(stats), stats.stat().st_size)}
        entries.append(Shard(shard.name, shard.samples, shard.first, shard.end, files).to_json())
    manifest = {
        "made_by": made_by,
        "samples": sum(shard.samples for shard in shards),
        "shards": entries,
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False)
    write_atomically(folder / MANIFEST, text.encode())


def read_manifest(folder: Path) -> tuple[dict[str, Any], list[Shard]]:
    """What made the shards of a folder, and the shards.

    Raises:
        DataError: there is no manifest, or it is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"{folder} has no {MANIFEST}: {_without_manifest(folder)}.")
    try:
        manifest = json.loads(path.read_bytes())
        shards = [Shard.from_json(entry) for entry in manifest["shards"]]
        made_by: dict[str, Any] = manifest["made_by"]
        int(made_by["options"]["gop"])
    except (ValueError, KeyError, TypeError) as error:
        if not (folder / MARK).is_file():
            raise DataError(f"{path} is not of the step shards: {_FOREIGN}.") from error
        raise DataError(
            f"{path} is damaged; delete it and run the step shards again, which makes it anew."
        ) from error
    return made_by, shards


_FOREIGN = (
    "nothing says what the shards should be, so they cannot be checked; `python -m data_prep "
    "motion FOLDER OUT.parquet --kind video2dataset` reads shards of any origin and names what is "
    "damaged"
)


def _without_manifest(folder: Path) -> str:
    """Why a folder has no manifest, and what to do."""
    if not folder.is_dir():
        return "it is no folder"
    if (folder / MARK).is_file():
        return "its shards are not finished; run the step shards again"
    if (folder / "latents.json").is_file():
        return "it holds latents; check the shards of videos that they were made of"
    if tars_in(folder):
        return _FOREIGN
    below = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    return f"it holds no shards, but {below[0]} does" if below else "it holds no shards"


def remove_shards(folder: Path) -> None:
    """Delete what this module writes, the manifest first, and nothing else."""
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / MARK).unlink(missing_ok=True)
    for pattern in ("*_stats.json", "*.parquet", "*.tar", ".*.part", ".*.tar.tmp"):
        for path in sorted(folder.glob(pattern)):
            if whole_number(path.name.lstrip(".")[:5]) is not None:
                path.unlink()
