"""Shares of a work in processes of their own, one per device; none outlives its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from typing import Any

import torch

from lightning_artv.progress import Progress


def in_processes(
    work: Callable[..., None],
    tasks: Sequence[tuple[Any, ...]],
    count_done: Callable[[], int],
    progress: Progress,
) -> None:
    """Run `work(*task)` for every task at the same time.

    Args:
        work: a function of a module.
        tasks: arguments, one process each.
        count_done: how much of the work is done.
        progress: told about it once per second.

    Raises:
        Exception: the first that a task raised; the others are stopped then.
    """
    before = progress.done
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // len(tasks))
    with ProcessPoolExecutor(len(tasks), context, _prepare, (threads,)) as pool:
        running = {pool.submit(work, *task) for task in tasks}
        try:
            while running:
                done, running = wait(running, timeout=1.0, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                if more := before + count_done() - progress.done:
                    progress(more)
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()  # what they had not finished is done again by the next run
            raise


def _prepare(threads: int) -> None:
    """Share the cores out, and end with the parent: an orphan would race with the next run."""
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops them
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
