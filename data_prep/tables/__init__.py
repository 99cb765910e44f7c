"""Parquet tables: one row per video, the same bytes for the same rows, whole or not at all.

Every table carries what made it as JSON in its metadata (`made_by`): the step, its options, and the
sha256 of the table or list that it read. A step whose output says the same has nothing to do.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lightning_artv.errors import DataError, UserError
from lightning_artv.media.atomic import atomic_path, writing_to

Row = dict[str, Any]

ROW_GROUP = 65536
"""Rows a group; fixed, so that the bytes do not depend on how many rows came at a time."""

_MADE_BY = b"data_prep"
_AT_A_TIME = 10_000

STATUS = [
    pa.field("status", pa.string()),  # ok | failed
    pa.field("error_kind", pa.string()),
    pa.field("error", pa.string()),
]


_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    float: pa.float64(),
    int: pa.int64(),
    bool: pa.bool_(),
    list[float]: pa.list_(pa.float64()),
}


def columns_of(kind: type) -> list[pa.Field]:
    """The columns that hold a dataclass with fields such as `float | None`."""
    hints = typing.get_type_hints(kind)
    return [pa.field(f.name, _column(hints[f.name])) for f in dataclasses.fields(kind)]


def _column(hint: Any) -> pa.DataType:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next(_TYPES[option] for option in options if option in _TYPES)


class TableWriter:
    """Writes rows to a Parquet file that appears under its name at a successful end; use as a
    context manager.

    Args:
        path: path of the table; one that exists is replaced.
        schema: the columns; a row's missing columns are null, unknown ones are an error.
        made_by: what made the table; see `made_by`.
    """

    def __init__(self, path: Path, schema: pa.Schema, made_by: Mapping[str, Any]) -> None:
        self._path = path
        text = json.dumps(made_by, sort_keys=True, ensure_ascii=False).encode()
        self.schema = schema.with_metadata({_MADE_BY: text})
        self._held: list[pa.Table] = []
        self._count = 0

    def write(self, rows: Iterable[Row]) -> None:
        """Add rows; a stream of them is not held in memory."""
        names, rows = set(self.schema.names), iter(rows)
        while some := list(islice(rows, _AT_A_TIME)):
            for row in some:
                if unknown := row.keys() - names:
                    raise ValueError(f"{self._path.name} has no column {sorted(unknown)}.")
            self.write_table(pa.Table.from_pylist(some, schema=self.schema))

    def write_table(self, table: pa.Table) -> None:
        """Add the rows of a table of the same columns."""
        self._held.append(table.replace_schema_metadata(self.schema.metadata))
        self._count += table.num_rows
        while self._count >= ROW_GROUP:
            whole = pa.concat_tables(self._held)
            self._group(whole.slice(0, ROW_GROUP))
            self._held, self._count = [whole.slice(ROW_GROUP)], self._count - ROW_GROUP

    def __enter__(self) -> TableWriter:
        self._stack = ExitStack()
        temporary = self._stack.enter_context(atomic_path(self._path))
        with writing_to(self._path):
            # keys, paths and hashes have no repetitions; of others zstd makes as little by itself
            writer = pq.ParquetWriter(
                temporary, self.schema, compression="zstd", use_dictionary=False
            )
            self._parquet = self._stack.enter_context(writer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._count:
            self._group(pa.concat_tables(self._held))
        self._stack.__exit__(kind, error, trace)

    def _group(self, table: pa.Table) -> None:
        with writing_to(self._path):
            # One piece a column: where the rows came in does not show in the pages.
            self._parquet.write_table(table.combine_chunks(), row_group_size=ROW_GROUP)


class TableReader:
    """Rows of a Parquet table by number; keeps the last row group that was read.

    Args:
        path: path of the table.
        columns: which to read; None for all.

    Raises:
        UserError: there is no such table.
        DataError: the file is no Parquet table.
    """

    def __init__(self, path: Path, columns: Sequence[str] | None = None) -> None:
        self.path = path
        self._columns = None if columns is None else list(columns)
        self._file = _open(path)
        self.schema: pa.Schema = self._file.schema_arrow
        sizes = [self._file.metadata.row_group(g).num_rows for g in range(self.groups)]
        self._starts = [sum(sizes[:g]) for g in range(len(sizes) + 1)] if sizes else [0]
        self._cached: tuple[int, pa.Table] | None = None

    @property
    def groups(self) -> int:
        """How many row groups there are."""
        return int(self._file.metadata.num_row_groups)

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def group(self, number: int) -> pa.Table:
        """One row group."""
        if self._cached is None or self._cached[0] != number:
            self._cached = None
            table = self._file.read_row_group(number, columns=self._columns)
            self._cached = (number, table)
        return self._cached[1]

    def row(self, number: int) -> Row:
        """One row.

        Raises:
            IndexError: no such row.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"{self.path} has {len(self)} rows, there is no row {number}.")
        group = bisect_right(self._starts, number) - 1
        rows: list[Row] = self.group(group).slice(number - self._starts[group], 1).to_pylist()
        return rows[0]

    def __iter__(self) -> Iterator[Row]:
        for number in range(self.groups):
            yield from self.group(number).to_pylist()


def read_rows(path: Path, columns: Sequence[str] | None = None) -> list[Row]:
    """All rows of a small table."""
    return list(TableReader(path, columns))


def write_rows(
    path: Path, rows: Iterable[Row], schema: pa.Schema, made_by: Mapping[str, Any]
) -> None:
    """Write a small table."""
    with TableWriter(path, schema, made_by) as writer:
        writer.write(rows)


def made_by(path: Path) -> dict[str, Any]:
    """What made a table: its step, options and input, as `TableWriter` was told.

    Raises:
        UserError: there is no such table, or another program wrote it.
    """
    metadata = _open(path).schema_arrow.metadata or {}
    if _MADE_BY not in metadata:
        raise UserError(f"{path} was not written by data_prep; give a table of one of its steps.")
    facts: dict[str, Any] = json.loads(metadata[_MADE_BY])
    return facts


def counts(path: Path, column: str) -> str:
    """How often each word is in a column, such as `20 ok, 4 failed`."""
    numbers: Counter[str] = Counter()
    reader = TableReader(path, [column])
    for group in map(reader.group, range(reader.groups)):
        numbers.update({n["values"]: n["counts"] for n in group[column].value_counts().to_pylist()})
    return ", ".join(f"{number} {word}" for word, number in numbers.most_common()) or "no rows"


def sha256(path: Path) -> str:
    """The hexadecimal digest of a file.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _open(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise UserError(f"There is no table {path}; run the step that makes it first.")
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is no Parquet table ({reason}); make it again.") from error
