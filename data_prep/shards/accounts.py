"""What became of every video of a source: kept, filtered and why, or failed and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from data_prep.shards.files import read_manifest
from data_prep.tables import Row, TableReader, TableWriter, sha256
from data_prep.tables.provenance import is_done

ACCOUNTS = pa.schema(
    [
        ("key", pa.string()),
        ("path", pa.string()),
        ("outcome", pa.string()),  # kept | filtered | failed
        ("reason", pa.string()),  # why it is not kept, in a few words
        ("detail", pa.string()),  # the error, or the key of the video that it is a duplicate of
        ("shard", pa.string()),  # of its first sample, such as train/00000
        ("samples", pa.int64()),
    ]
)


@dataclass(frozen=True)
class _Stored:
    shard: str
    samples: int
    kind: str | None
    error: str | None


def write_accounts(selection: Path, folders: Sequence[Path], out: Path) -> bool:
    """Write one row per video of the selection, by what the finished shards in `folders` hold.

    Args:
        selection: the table of `data_prep.selection.select`.
        folders: folders of shards; the name of each is part of a shard's.
        out: the table to write; an older one is replaced.

    Returns:
        whether there was anything to do.

    Raises:
        DataError: shards that are not finished.
    """
    manifests = [sha256(folder / "manifest.json") for folder in folders]
    made_by = {"step": "accounts", "input": [sha256(selection), *manifests]}
    if is_done(out, made_by, overwrite=True):
        return False
    streams = {folder.name == HELD_OUT: _stored(folder) for folder in folders}
    columns = ("key", "path", "decision", "reason", "duplicate_of", "error", "held_out")
    with TableWriter(out, ACCOUNTS, made_by) as writer:
        writer.write(
            _account(row, next(streams[row["held_out"]]) if row["decision"] == "kept" else None)
            for row in TableReader(selection, columns)
        )
    return True


TRAIN, HELD_OUT = "train", "held_out"
"""Folders of shards."""


def totals(accounts: Path) -> dict[str, Counter[str]]:
    """Outcome -> reason -> how many videos."""
    counts: dict[str, Counter[str]] = {
        "kept": Counter(),
        "filtered": Counter(),
        "failed": Counter(),
    }
    for row in TableReader(accounts, ["outcome", "reason"]):
        counts[row["outcome"]][row["reason"] or ""] += 1
    return counts


def summary(accounts: Path, noun: str = "videos") -> str:
    """The totals in a few lines."""
    counts = totals(accounts)
    total = sum(sum(reasons.values()) for reasons in counts.values())
    lines = [f"{total} {noun}: " + ", ".join(f"{sum(n.values())} {o}" for o, n in counts.items())]
    for outcome in ("filtered", "failed"):
        lines += [f"  {outcome}: {n} {reason}" for reason, n in counts[outcome].most_common()]
    return "\n".join(lines)


def _account(row: Row, stored: _Stored | None) -> Row:
    known = {"key": row["key"], "path": row["path"], "samples": 0}
    if stored is None:
        detail = row["error"] or row["duplicate_of"]
        return {**known, "outcome": row["decision"], "reason": row["reason"], "detail": detail}
    if not stored.samples:
        return {**known, "outcome": "failed", "reason": stored.kind, "detail": stored.error}
    return {**known, "outcome": "kept", "shard": stored.shard, "samples": stored.samples}


def _stored(folder: Path) -> Iterator[_Stored]:
    """What became of each kept video, in the selection's order."""
    _, shards = read_manifest(folder)
    key, first, samples = None, "", 0
    for shard in shards:
        name = f"{folder.name}/{shard.name}"
        for row in TableReader(folder / f"{shard.name}.parquet"):
            if key is not None and row["key"] != key:
                yield _Stored(first, samples, None, None)
                key = None
            if row["status"] != "ok":
                yield _Stored(name, 0, row["error_kind"], row["error"])
            elif key is None:
                key, first, samples = row["key"], name, 1
            else:
                samples += 1
    if key is not None:
        yield _Stored(first, samples, None, None)
