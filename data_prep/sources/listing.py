"""A source's videos as a table: what can be used, and what cannot and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from data_prep.sources.rows import MEMBER, Piece, Problem, VideoEntry
from data_prep.tables import STATUS, Row, TableWriter, columns_of, sha256
from data_prep.tables.provenance import sweep

LISTING = pa.schema([*columns_of(VideoEntry), pa.field("size_bytes", pa.int64()), *STATUS])
"""The fields of `VideoEntry`, the size of the file, and what is wrong with it."""


def write_listing(kind: str, source: Path, videos: Path | None, out: Path) -> str:
    """List a source (see `data_prep.sources`) as a table.

    Returns:
        the table's sha256: another one next time means that the source, or the size of one of its
        files, has changed.

    Raises:
        UserError: a source that cannot be read at all.
    """
    sweep(out.parent)
    with TableWriter(out, LISTING, {"step": "list"}) as writer:
        writer.write(listing_rows(kind, source, videos))
    return sha256(out)


def listing_rows(kind: str, source: Path, videos: Path | None) -> Iterator[Row]:
    """The rows of `LISTING`."""
    from data_prep.sources import list_source

    for item in list_source(kind, source, videos):
        if isinstance(item, Problem):
            why = {"error_kind": item.kind, "error": item.reason}
            yield {"key": item.key, "path": item.path, "status": "failed", **why}
        else:
            row = dataclasses.asdict(item)
            yield {**row, "size_bytes": _size(item.path), "status": "ok"}


def entry_of(row: Row) -> Piece:
    """The video of a table's row, or the piece of one."""
    fields = {f.name: row[f.name] for f in dataclasses.fields(VideoEntry)}
    return Piece(**fields, start=row.get("start"), end=row.get("end"))


def _size(path: str) -> int | None:
    """Bytes of the file, or of the shard it is in; None where it cannot be seen."""
    try:
        return Path(path.split(MEMBER)[0]).stat().st_size
    except OSError:
        return None
