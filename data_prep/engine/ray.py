"""Ray Data: the same jobs on a cluster, in actors that keep their model.

Each actor gives its work to one process of its own (`local.Pool`), so that a decoder's crash costs
one video here too, and not the actor.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from data_prep.engine.job import Job
from data_prep.engine.local import Pool
from data_prep.options import EngineOptions
from data_prep.tables import Row
from lightning_artv.errors import UserError

_WINDOW = 4096
"""Batches a Ray data set; bounds the driver's memory. Actors are made anew for each."""


class _Actor:
    """A batch of row numbers -> the batch of results."""

    def __init__(self, job: Job, table: Path, timeout: float) -> None:
        self._job = job
        self._pool = Pool(job, table, 1, timeout)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = list(self._pool.map(batch["number"].to_pylist()))
        return pa.Table.from_pylist(rows, schema=self._job.schema)


def map_rows_ray(
    job: Job, table: Path, numbers: Sequence[int], options: EngineOptions
) -> Iterator[Row]:
    """`data_prep.engine.map_rows` by Ray Data.

    Joins the cluster that RAY_ADDRESS names, else starts Ray on this machine.

    Raises:
        UserError: Ray is not installed, or what the job raised.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError("Ray is not installed; pip install 'lightning-artv[ray]'.") from error
    started = not ray.is_initialized()
    if started:
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # the progress line is ours
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # leave GPUs visible
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    try:
        for start in range(0, len(numbers), _WINDOW * job.batch):
            yield from _window(job, table, numbers[start : start + _WINDOW * job.batch], options)
    except ray.exceptions.RayError as error:
        raise _user_error(error) or error from error
    finally:
        if started:
            ray.shutdown()


def _window(job: Job, table: Path, numbers: Sequence[int], options: EngineOptions) -> Iterator[Row]:
    import ray

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    blocks = [
        pa.table({"number": pa.array(numbers[start : start + job.batch], pa.int64())})
        for start in range(0, len(numbers), job.batch)
    ]
    results = ray.data.from_arrow(blocks).map_batches(
        _Actor,
        fn_constructor_args=(job, table.resolve(), options.timeout),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(options.workers, len(blocks))),
        num_gpus=options.gpus or None,
    )
    for batch in results.iter_batches(batch_size=job.batch, batch_format="pyarrow"):
        assert isinstance(batch, pa.Table)
        yield from batch.to_pylist()


def _user_error(error: BaseException | None) -> UserError | None:
    """What the job raised, beneath Ray's wrappings."""
    while error is not None and not isinstance(error, UserError):
        error = getattr(error, "cause", None) or error.__cause__
    return error
