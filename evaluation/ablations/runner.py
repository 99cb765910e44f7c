"""The command `ablations`: run what is missing of the grid, then write what it shows."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from evaluation.ablations.plan import BUDGETS, CONFIG, SWEEPS_OF, VARIANTS_OF, Budget, make_plan
from evaluation.ablations.plan_file import open_plan
from evaluation.ablations.scheduler import Scheduler, locked
from evaluation.ablations.tasks import plan_tasks
from lightning_artv.errors import UserError


def run(options: argparse.Namespace) -> int:
    """0 where every task is done and the results are written; 1 where a task failed.

    Raises:
        UserError: options or files that cannot be used.
    """
    budget = _budget(options)
    plan = make_plan(
        budget,
        options.seeds,
        options.variants or VARIANTS_OF[options.budget],
        SWEEPS_OF[options.budget] if options.sweeps is None else options.sweeps,
        options.config or CONFIG,
    )
    out: Path = options.out
    began = time.monotonic()
    with locked(out) as lock, _stopped_by_sigterm():
        open_plan(out, plan)
        scheduler = Scheduler(
            plan_tasks(plan, out), out, options.workers or os.cpu_count() or 1, [lock]
        )
        scheduler.run()
        minutes = (time.monotonic() - began) / 60
        done = f"{scheduler.done}/{scheduler.total} tasks are done after {minutes:.1f} min"
        print(done, file=sys.stderr)
        for sentence in scheduler.failed.values():
            print(f"error: {sentence}", file=sys.stderr)
        if scheduler.left_out:
            left_out = f"{len(scheduler.left_out)} tasks that need their results were left out"
            print(f"{left_out}; the same command tries again.", file=sys.stderr)
        from evaluation.ablations.results import write  # TensorBoard and charts: not for --help

        try:
            write(out)
        except UserError as error:
            if not scheduler.failed:
                raise
            print(f"error: {error}", file=sys.stderr)
    return 1 if scheduler.failed else 0


def _budget(options: argparse.Namespace) -> Budget:
    if options.budget not in BUDGETS:
        raise UserError(f"There is no budget '{options.budget}': use {' or '.join(BUDGETS)}.")
    return BUDGETS[options.budget].with_changes(options.changes)


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """`kill` ends a run as Ctrl-C does: what runs saves, and timing is written."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
