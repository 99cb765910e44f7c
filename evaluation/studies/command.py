"""The commands `ablations` and `ablations-report`: run what is missing, write what it shows."""

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

from evaluation.studies.plan import Plan, make_plan, open_plan
from evaluation.studies.scheduler import Scheduler, locked
from evaluation.studies.study import Study, find_study
from evaluation.studies.tasks import plan_tasks
from lightning_artv.errors import UserError


def run(options: argparse.Namespace) -> int:
    """0 where every task is done and the results are written; 1 where a task failed.

    Raises:
        UserError: options or files that cannot be used.
    """
    plan = _plan(options)
    out, workers = options.out, options.workers or os.cpu_count() or 1
    began = time.monotonic()
    with locked(out) as lock, _stopped_by_sigterm():
        open_plan(out, plan)
        scheduler = Scheduler(plan_tasks(plan, out), out, workers, [lock])
        scheduler.run()
        _say_end(scheduler, (time.monotonic() - began) / 60)
        try:
            write(out, study=plan.study)
        except UserError as error:
            if not scheduler.failed:
                raise
            print(f"error: {error}", file=sys.stderr)
    return 1 if scheduler.failed else 0


def report(options: argparse.Namespace) -> int:
    """0 when TensorBoard's folder and the page are written anew.

    Raises:
        UserError: as `write`.
    """
    write(options.out, options.page, options.machine, find_study(options.study))
    return 0


def write(
    out: Path, page: Path | None = None, machine: str | None = None, study: Study | None = None
) -> None:
    """Write `out/tensorboard` and the page anew from the results that are there.

    Args:
        out: folder of `plan.json` and `runs/`.
        page: folder of the page; None for `out/page`.
        machine: machine on which the grid ran, in words, for the page.
        study: whose results they are; None for ART•V's.

    Raises:
        UserError: no results, results that do not compare, or a place that cannot be written.
    """
    from evaluation.studies.board import write_board  # TensorBoard and charts: not for `run`'s time
    from evaluation.studies.claims import findings
    from evaluation.studies.grid import read_grid
    from evaluation.studies.page import Shown, write_page
    from evaluation.studies.pictures import side_by_side
    from evaluation.studies.ranking import best_variant, rankings

    grid = read_grid(out, study)
    if grid.missing:
        print(
            f"note: {len(grid.missing)} results are missing in {out}, such as {grid.missing[0]}; "
            "claims that need them are marked.",
            file=sys.stderr,
        )
    shown = Shown(findings(grid), rankings(grid), best_variant(grid), side_by_side(grid))
    text = "".join(f"- {sentence}\n" for sentence in shown.sentences())
    write_board(grid, shown.clips, text, out / "tensorboard")
    folder = page or out / "page"
    write_page(grid, shown, folder, machine)
    print(f"{folder / 'index.html'}\nTensorBoard: tensorboard --logdir {out / 'tensorboard'}")


def _plan(options: argparse.Namespace) -> Plan:
    study = find_study(options.study)
    if options.budget not in study.budgets:
        known = " or ".join(study.budgets)
        raise UserError(f"There is no budget '{options.budget}': use {known}.")
    spending = study.budgets[options.budget]
    return make_plan(
        study,
        spending.budget.with_changes(options.changes),
        options.seeds,
        options.variants or spending.variants,
        spending.sweeps if options.sweeps is None else options.sweeps,
        options.config,
    )


def _say_end(scheduler: Scheduler, minutes: float) -> None:
    done = f"{scheduler.done}/{scheduler.total} tasks are done after {minutes:.1f} min"
    print(done, file=sys.stderr)
    for sentence in scheduler.failed.values():
        print(f"error: {sentence}", file=sys.stderr)
    if scheduler.left_out:
        left_out = f"{len(scheduler.left_out)} tasks that need their results were left out"
        print(f"{left_out}; the same command tries again.", file=sys.stderr)


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


def shots(options: argparse.Namespace) -> int:
    """Take pictures of a study's TensorBoard."""
    from evaluation.studies.shots import take

    take(options.out / "tensorboard", options.out / "shots", find_study(options.study))
    return 0
