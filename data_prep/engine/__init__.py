"""Who does the work: processes of this machine, or Ray.

A `Job` turns rows of a table into result rows. Whatever the engine and the number of processes, the
results come in the order of the rows, and a row's result depends on its batch only: the output is
the same, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.engine.job import Job, Work, attempt
from data_prep.options import EngineOptions
from data_prep.tables import Row

__all__ = ["Job", "Work", "attempt", "map_rows"]


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
