"""Which videos to keep: the paper's motion window, then the best by CLIP; filters, duplicates.

Only the columns that decide are held in memory; captions stay on disk.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.options import EngineOptions, SelectOptions
from data_prep.selection.duplicates import duplicates_of, parse_hashes
from data_prep.tables import TableReader, TableWriter, sha256
from data_prep.tables.log import note
from data_prep.tables.provenance import is_done, sweep
from lightning_artv.errors import DataError, UserError

SELECTION = [
    pa.field("decision", pa.string()),  # kept | filtered | failed
    pa.field("reason", pa.string()),  # why it is not kept
    pa.field("duplicate_of", pa.string()),  # key of the kept video that it resembles
    pa.field("held_out", pa.bool_()),
]


def select(source: Path, out: Path, options: SelectOptions) -> bool:
    """Write `source` with the columns of `SELECTION`; a selection made otherwise is replaced.

    Returns:
        whether there was anything to do.

    Raises:
        UserError: a column that the options need is not there.
    """
    sweep(out.parent)
    made_by = {"step": "select", "options": asdict(options), "input": sha256(source)}
    if is_done(out, made_by, overwrite=True):
        return False
    started = time.monotonic()
    verdict = judge(TableReader(source), options)
    reader = TableReader(source)
    names = {field.name for field in SELECTION}
    schema = pa.schema([*(f for f in reader.schema if f.name not in names), *SELECTION])
    with TableWriter(out, schema, made_by) as writer:
        start = 0
        for number in range(reader.groups):
            table = reader.group(number).select([f.name for f in schema if f.name not in names])
            writer.write_table(verdict.attach(table, start, options.held_out, schema))
            start += table.num_rows
    note(out, "select", "video", len(reader), time.monotonic() - started, EngineOptions("local", 1))
    return True


@dataclass(frozen=True)
class Verdict:
    """What becomes of each row.

    Attributes:
        codes: `[N]`, index into `reasons`; 0 is kept, 1 is failed.
        reasons: in words.
        duplicates: rows, ascending.
        originals: key of the kept video that each duplicate resembles.
    """

    codes: NDArray[np.uint8]
    reasons: list[str]
    duplicates: NDArray[np.int64]
    originals: pa.Array

    def attach(self, table: pa.Table, start: int, held_out: float, schema: pa.Schema) -> pa.Table:
        """The table's rows, which begin at row `start`, with the verdict's columns."""
        codes = self.codes[start : start + table.num_rows]
        decisions = pa.array(["kept", "failed", *["filtered"] * (len(self.reasons) - 2)])
        indices = pa.array(codes)
        reasons = pa.array(self.reasons, pa.string()).take(indices)
        failed = pa.array(codes == 1)
        kinds = table["error_kind"].combine_chunks()
        reasons = pc.if_else(failed, pc.fill_null(kinds, "failed"), reasons)
        reasons = pc.if_else(pa.array(codes == 0), pa.scalar(None, pa.string()), reasons)
        columns = [
            decisions.take(indices),
            reasons,
            self._originals(start, table.num_rows),
            _held_out(_video(table), held_out),
        ]
        for column, item in zip(columns, SELECTION, strict=True):
            table = table.append_column(item, column)
        return table.cast(schema)

    def _originals(self, start: int, count: int) -> pa.Array:
        low, high = np.searchsorted(self.duplicates, [start, start + count])
        places = np.zeros(count, np.int64)
        absent = np.ones(count, bool)
        here = self.duplicates[low:high] - start
        places[here], absent[here] = np.arange(low, high), False
        return self.originals.take(pa.array(places, mask=absent))


def _video(table: pa.Table) -> pa.ChunkedArray:
    """Keys of the rows' videos: pieces of one are held out together."""
    if "video" not in table.schema.names:
        return table["key"]
    return pc.coalesce(table["video"], table["key"])


def _held_out(keys: pa.ChunkedArray, share: float) -> pa.Array:
    if not share:
        return pa.array(np.zeros(len(keys), bool))
    return pa.array([is_held_out(key, share) for key in keys.to_pylist()], pa.bool_())


def judge(reader: TableReader, options: SelectOptions) -> Verdict:
    """Decide about each row: failed, out of a window, a duplicate, not among the best, kept.

    Raises:
        UserError: a column that the options need is not there.
    """
    status = _column(reader, "status")
    codes = np.where(pc.equal(status, "ok").to_numpy(zero_copy_only=False), 0, 1).astype(np.uint8)
    reasons = ["", "failed"]
    for name, (low, high) in options.windows.items():
        values = _numbers(reader, name)
        for word, outside in (
            (f"{name} unknown", np.isnan(values)),
            (f"{name} below {low:g}" if low is not None else "", values < (low or 0)),
            (f"{name} above {high:g}" if high is not None else "", values > (high or 0)),
        ):
            if word:
                codes[(codes == 0) & outside] = len(reasons)
                reasons.append(word)
    best_first = _best_first(reader, codes, options)
    duplicates = np.empty(0, np.int64)
    originals = pa.array([], pa.string())
    if options.distance is not None:
        duplicates, originals = _duplicates(reader, best_first, options.distance)
        codes[duplicates] = len(reasons)
        reasons.append("duplicate")
        best_first = best_first[codes[best_first] == 0]
    keep = _how_many(len(best_first), options)
    codes[best_first[keep:]] = len(reasons)
    reasons.append("clip_score not among the best")
    return Verdict(codes, reasons, duplicates, originals)


def is_held_out(key: str, share: float) -> bool:
    """Whether a key belongs to the held-out share."""
    if not share:
        return False
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def _how_many(eligible: int, options: SelectOptions) -> int:
    if options.count is not None:
        return min(options.count, eligible)
    return eligible if options.share is None else int(np.ceil(options.share * eligible))


def _best_first(
    reader: TableReader, codes: NDArray[np.uint8], options: SelectOptions
) -> NDArray[np.int64]:
    """The rows that are still in, by falling CLIP score, equal ones in the table's order."""
    rows = np.flatnonzero(codes == 0)
    if "clip_score" not in reader.schema.names:
        return rows
    scores = _numbers(reader, "clip_score")[rows]
    return rows[np.argsort(-scores, kind="stable")]  # those without a score (nan) come last


def _duplicates(
    reader: TableReader, best_first: NDArray[np.int64], distance: int
) -> tuple[NDArray[np.int64], pa.Array]:
    """Rows, ascending, and keys of the kept ones; videos without a hash are no duplicates."""
    hashes, present = _hashes(reader)
    rows = best_first[present[best_first]]
    hashes = hashes[rows]  # the largest thing here: only once
    pa.default_memory_pool().release_unused()
    first = duplicates_of(hashes, distance) if len(rows) else rows
    del hashes
    doubles = np.flatnonzero(first >= 0)
    doubles = doubles[np.argsort(rows[doubles])]
    keys = _column(reader, "key") if len(doubles) else pa.array([], pa.string())
    return rows[doubles], keys.take(pa.array(rows[first[doubles]]))


def _hashes(reader: TableReader) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The words `[N, k]` of all hashes, and which rows have one."""
    if "phash" not in reader.schema.names:
        raise UserError(f"{reader.path} has no column phash; run the step motion first.")
    groups = TableReader(reader.path, ["phash"])
    words: NDArray[np.uint64] | None = None
    present = np.zeros(len(groups), bool)
    start = 0
    for number in range(groups.groups):
        texts = groups.group(number)["phash"].combine_chunks()
        here = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False)) + start
        start += len(texts)
        if not len(here):
            continue
        parsed = _words(texts.drop_null())
        if words is None:
            words = np.zeros((len(groups), parsed.shape[1]), np.uint64)
        if parsed.shape[1] != words.shape[1]:
            raise DataError("The phash column has hashes of two lengths; make the table again.")
        words[here] = parsed
        present[here] = True
    return (np.zeros((len(groups), 1), np.uint64) if words is None else words), present


def _words(texts: pa.Array) -> NDArray[np.uint64]:
    """Hashes as hexadecimal text, all of one length -> words `[N, k]`."""
    lengths = pc.unique(pc.binary_length(texts)).to_pylist()
    if len(lengths) > 1 or lengths[0] % 16 or not lengths[0]:
        raise DataError(
            f"The phash column has texts of {sorted(lengths)} digits, not of one multiple of 16; "
            "make the table again with the step motion."
        )
    return parse_hashes("".join(texts.to_pylist()).encode(), len(texts))


def _column(reader: TableReader, name: str) -> pa.Array:
    if name not in reader.schema.names:
        raise UserError(f"{reader.path} has no column {name}; run the step that makes it first.")
    groups = TableReader(reader.path, [name])
    parts = [groups.group(number)[name] for number in range(groups.groups)]
    if not parts:
        return pa.array([], reader.schema.field(name).type)
    return pa.chunked_array([chunk for part in parts for chunk in part.chunks]).combine_chunks()


def _numbers(reader: TableReader, name: str) -> NDArray[np.float64]:
    """A column as float64, missing values as nan."""
    column = _column(reader, name)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise UserError(f"The column {name} of {reader.path} holds no numbers to filter by.")
    values = pc.fill_null(column.cast(pa.float64()), float("nan"))
    array: NDArray[np.float64] = values.to_numpy(zero_copy_only=False)
    return array
