"""Who does the work: processes of this machine, or Ray.

A `Job` turns rows of a table into result rows. Whatever the engine and the number of processes, the
results come in the order of the rows, and a row's result depends on its batch only: the output is
the same, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from data_prep.engine.failure import failure
from data_prep.options import EngineOptions
from data_prep.tables import Row

Work = Callable[[list[Row]], list[Row]]
"""A batch of a table's rows -> one result each, in order. For a bad video it gives `status`
"failed" with `error_kind` and `error`; where it raises, the engine does so for it (`attempt`)."""


class Job(Protocol):
    """Work that can be sent to another process; a frozen dataclass is one.

    Attributes:
        batch: rows a call.
        schema: the columns of a result, among them `status`, `error_kind` and `error`.
    """

    @property
    def batch(self) -> int: ...

    @property
    def schema(self) -> pa.Schema: ...

    def open(self) -> Work:
        """Get ready (load a model, say); called once in each process that works."""
        ...


def attempt(work: Work, rows: list[Row]) -> list[Row]:
    """The results of work that may raise: only the row that it raises for fails, with the reason.

    A batch is tried again row by row. What is no `Exception` (an exit, a decoder's crash) ends the
    process, and the engine finds out about that.
    """
    try:
        results = work(rows)
        if len(results) != len(rows):
            raise ValueError(f"{len(results)} results for {len(rows)} rows")
        return results
    except Exception as error:
        if len(rows) > 1:
            return [result for row in rows for result in attempt(work, [row])]
        kind, reason = failure(error)
        return [{"status": "failed", "error_kind": kind, "error": reason}]


def map_rows(
    job: Job, table: Path, numbers: Sequence[int], options: EngineOptions
) -> Iterator[Row]:
    """The job's results for rows of a table, in order, as they become ready.

    A process that dies (out of memory, a decoder's crash) or hangs costs the video that it was
    working on, after a second try alone; an exception costs the row that it was raised for. The
    others go on.

    Args:
        job: what to do.
        table: where the rows are; Ray's machines must see it under the same path.
        numbers: which rows.

    Raises:
        UserError: what the job cannot work without, such as missing weights.
    """
    if options.kind == "ray":
        from data_prep.engine.ray import map_rows_ray

        yield from map_rows_ray(job, table, numbers, options)
        return
    from data_prep.engine.local import Pool

    with Pool(job, table, options.workers, options.timeout) as pool:
        yield from pool.map(numbers)
