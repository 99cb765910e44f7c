"""Processes of this machine, each with its own decoder and model, that may die without harm."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from data_prep.engine.job import Job, attempt
from data_prep.tables import Row, TableReader
from lightning_artv.errors import UserError

_SPAWN = multiprocessing.get_context("spawn")  # forking a process with threads can hang

_AHEAD = 8
"""Batches a process that may be finished before an earlier one is; bounds the memory."""

_START_SECONDS = 600.0
"""How long a process may take to load its model."""


_GOODBYE_SECONDS = 5.0


@dataclass(frozen=True)
class _Task:
    """Rows to work on: (position in the output, number in the table)."""

    items: tuple[tuple[int, int], ...]
    second_try: bool = False


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    ready: bool = False
    task: _Task | None = None
    deadline: float = field(default_factory=lambda: time.monotonic() + _START_SECONDS)


class Pool:
    """Workers that keep what `Job.open` gave them; use as a context manager.

    Args:
        job: what they do.
        table: where the rows are.
        processes: how many.
        timeout: seconds a row may take.
    """

    def __init__(self, job: Job, table: Path, processes: int, timeout: float) -> None:
        self._job, self._table, self._timeout = job, table, timeout
        self._processes = processes
        self._workers: list[_Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *why: object) -> None:
        for worker in self._workers:
            if worker.task is None:
                worker.pipe.close()  # it is waiting for work, and goes home
                worker.process.join(_GOODBYE_SECONDS)
            self._end(worker)
        self._workers = []

    def map(self, numbers: Sequence[int]) -> Iterator[Row]:
        """The job's results for these rows, in order.

        Raises:
            UserError: what a worker raised, or a worker that cannot start.
        """
        fresh = iter(self._tasks(numbers))
        again: deque[_Task] = deque()
        done: dict[int, Row] = {}
        position = 0
        upcoming = next(fresh, None)
        ahead = self._job.batch * self._processes * _AHEAD
        while position < len(numbers):
            for worker in self._idle(bool(again) or upcoming is not None):
                if again:
                    self._give(worker, again.popleft())
                elif upcoming is not None and upcoming.items[0][0] < position + ahead:
                    self._give(worker, upcoming)
                    upcoming = next(fresh, None)
            for task, rows in self._collect():
                if rows is not None:
                    done.update(zip((p for p, _ in task.items), rows, strict=True))
                else:
                    again.extend(_Task((item,), second_try=True) for item in task.items)
            while position in done:
                yield done.pop(position)
                position += 1

    def _tasks(self, numbers: Sequence[int]) -> Iterator[_Task]:
        for start in range(0, len(numbers), self._job.batch):
            batch = numbers[start : start + self._job.batch]
            yield _Task(tuple((start + k, int(number)) for k, number in enumerate(batch)))

    def _idle(self, work_left: bool) -> list[_Worker]:
        """Workers without a task; one is started where none is free and more are allowed."""
        idle = [worker for worker in self._workers if worker.task is None]
        if not idle and work_left and len(self._workers) < self._processes:
            idle = [self._start()]
            self._workers += idle
        return idle

    def _start(self) -> _Worker:
        mine, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=_work, args=(theirs, self._job, self._table), daemon=False, name="data_prep"
        )
        process.start()
        theirs.close()  # so that the worker's death ends the pipe
        return _Worker(process, mine)

    def _give(self, worker: _Worker, task: _Task) -> None:
        worker.task = task
        if worker.ready:
            worker.deadline = time.monotonic() + self._timeout * len(task.items)
        with contextlib.suppress(OSError):  # it died; its pipe's end says so next
            worker.pipe.send([number for _, number in task.items])

    def _collect(self) -> list[tuple[_Task, list[Row] | None]]:
        """Wait for some worker: the tasks that ended, with None for a first death."""
        busy = {worker.pipe: worker for worker in self._workers if worker.task is not None}
        nearest = min(worker.deadline for worker in busy.values())
        pipes = wait(list(busy), timeout=max(0.0, nearest - time.monotonic()))
        ended = [self._receive(busy[pipe]) for pipe in pipes if isinstance(pipe, Connection)]
        now = time.monotonic()
        late = [worker for pipe, worker in busy.items() if pipe not in pipes]
        ended += [
            self._lose(worker, f"it took longer than {self._timeout:g} s")
            for worker in late
            if worker.deadline <= now
        ]
        return [pair for pair in ended if pair is not None]

    def _receive(self, worker: _Worker) -> tuple[_Task, list[Row] | None] | None:
        try:
            answer = worker.pipe.recv()
        except (EOFError, OSError):  # OSError: it died in the middle of an answer
            worker.process.join(5)
            return self._lose(worker, f"the process reading it died ({_cause(worker)})")
        if isinstance(answer, BaseException):
            raise answer
        assert worker.task is not None
        if answer is None:  # it has started
            worker.ready = True
            worker.deadline = time.monotonic() + self._timeout * len(worker.task.items)
            return None
        task, worker.task = worker.task, None
        return task, answer

    def _lose(self, worker: _Worker, reason: str) -> tuple[_Task, list[Row] | None]:
        task = worker.task
        assert task is not None
        self._end(worker)
        self._workers.remove(worker)
        if not worker.ready:
            raise UserError(f"A worker process could not start: {reason}; free some memory.")
        if not task.second_try:
            return task, None
        return task, [{"status": "failed", "error_kind": "crash", "error": reason}]

    def _end(self, worker: _Worker) -> None:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


def _cause(worker: _Worker) -> str:
    code = worker.process.exitcode
    if code is None or code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name


def _work(pipe: Connection, job: Job, table: Path) -> None:
    """A worker's life: open the job, then rows' numbers in and results out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    _die_with_parent()
    try:
        reader = TableReader(table)
        work = job.open()
        pipe.send(None)
        while True:
            numbers = pipe.recv()
            pipe.send(attempt(work, [reader.row(number) for number in numbers]))
    except EOFError:
        return
    except UserError as error:
        pipe.send(error)
    except Exception:  # in what all rows need: the parent must stop and show it
        pipe.send(RuntimeError(traceback.format_exc()))


def _die_with_parent() -> None:
    """End at once when the parent is killed, also in the middle of a video."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
