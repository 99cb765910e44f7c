"""A step that adds columns to a table, part by part: killed at any moment, it goes on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.engine import Job, map_rows
from data_prep.options import EngineOptions
from data_prep.tables import Row, TableReader, TableWriter, sha256
from data_prep.tables.log import note
from data_prep.tables.provenance import claim, is_claimed, is_done, sweep
from lightning_artv.progress import Progress

CHUNK = 256
"""Videos a part: a killed run loses at most those of the parts that were not finished."""


def add_columns(
    source: Path,
    out: Path,
    job: Job,
    options: Mapping[str, Any],
    step: str,
    engine: EngineOptions,
    overwrite: bool = False,
    chunk: int | None = None,
) -> bool:
    """Write `source` with the job's columns added; rows that have failed before are only copied.

    Finished parts are kept in the folder `out.parts` until all are there.

    Args:
        source: a table with `status`.
        out: the table to write.
        job: what computes the columns.
        options: options of the job, kept in the table; one made with others is refused.
        step: its name, for messages.
        engine: who works.
        overwrite: replace a table, or parts, that were made otherwise.
        chunk: rows per part; None for `CHUNK`.

    Returns:
        whether there was anything to do.

    Raises:
        UserError: `out` was made otherwise; what the job raises.
    """
    made_by = {"step": step, "options": dict(options), "input": sha256(source)}
    sweep(out.parent)
    parts = Parts(out.with_name(out.name + ".parts"))
    if is_done(out, made_by, overwrite):
        parts.remove()
        return False
    parts.prepare(made_by, overwrite)
    started = time.monotonic()
    schema, count, done = _write_parts(parts, source, job, engine, chunk or CHUNK)
    with TableWriter(out, schema, made_by) as writer:
        for number in range(count):
            writer.write_table(pq.read_table(parts[number]))
    parts.remove()
    note(out, step, "video", done, time.monotonic() - started, engine)
    return True


def _write_parts(
    parts: Parts, source: Path, job: Job, engine: EngineOptions, size: int
) -> tuple[pa.Schema, int, int]:
    """Write the parts that are missing; their columns, how many parts and how many videos."""
    reader, usable = TableReader(source), _usable(source)
    schema = _merged(reader.schema, job.schema)
    chunks = [range(i, min(i + size, len(reader))) for i in range(0, len(reader), size)]
    todo = [(number, rows) for number, rows in enumerate(chunks) if not parts[number].exists()]
    numbers = [row for _, rows in todo for row in rows if usable[row]]
    progress = Progress(sum(usable), "video", sum(usable) - len(numbers))
    results = map_rows(job, source, numbers, engine)
    for number, rows in todo:
        with TableWriter(parts[number], schema, {}) as writer:
            writer.write([_row(reader.row(row), usable[row], results, progress) for row in rows])
    progress.finish()
    return schema, len(chunks), len(numbers)


def _row(row: Row, usable: bool, results: Iterator[Row], progress: Progress) -> Row:
    if not usable:
        return row
    result = next(results)
    progress(1)
    return {**row, **{name: value for name, value in result.items() if value is not None}}


def _usable(source: Path) -> list[bool]:
    """Which rows have not failed."""
    reader = TableReader(source, ["status"])
    groups = (reader.group(number)["status"].to_pylist() for number in range(reader.groups))
    return [status == "ok" for group in groups for status in group]


def _merged(source: pa.Schema, added: pa.Schema) -> pa.Schema:
    """The source's columns but for the status, the new ones, the status."""
    names = set(added.names)
    return pa.schema([*(field for field in source if field.name not in names), *added])


@dataclass(frozen=True)
class Parts:
    """The finished parts of a table.

    Attributes:
        folder: where they are.
    """

    folder: Path

    def __getitem__(self, number: int) -> Path:
        return self.folder / f"{number:08d}.parquet"

    def prepare(self, made_by: Mapping[str, Any], overwrite: bool) -> None:
        """Make the folder, or keep what an earlier run of the same making left there.

        Raises:
            UserError: it is of another making.
        """
        sweep(self.folder)
        if not is_claimed(self.folder, made_by, overwrite):
            self.remove()
            claim(self.folder, made_by)

    def remove(self) -> None:
        """Delete the folder."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
