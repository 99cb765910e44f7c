"""Tasks in processes of their own, several at once; none outlives the process that started it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.manifest import to_json
from evaluation.studies.guard import PATIENCE
from evaluation.studies.tasks import Layout, Task, wanted
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import write_atomically

TIMING = "timing.json"
POLL, SAVE_EVERY = 0.05, 10.0


@contextlib.contextmanager
def locked(out: Path, patience: float = PATIENCE + 10) -> Iterator[int]:
    """Hold a folder for this process and for those that inherit the file descriptor.

    Waits for what a killed run started, which ends by itself.

    Raises:
        UserError: another run is still at work after `patience` seconds.
    """
    import fcntl

    out.mkdir(parents=True, exist_ok=True)
    lock = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        began, told = time.monotonic(), False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() - began > patience:
                    raise UserError(
                        f"Another run is at work in '{out}': wait for its end, or name another "
                        "--out."
                    ) from error
            if not told:
                told = True
                _say(f"waiting for the processes of another run in {out} to end")
            time.sleep(0.1)
        yield lock
    finally:
        os.close(lock)


@contextlib.contextmanager
def _signals_kept() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are put in a list instead of raising.

    Raised in the middle of `Popen.poll`, one would leave its lock taken, and the next wait would
    never end; raised in the middle of a start, it would lose a process.
    """
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class _Running:
    task: Task
    process: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


class Scheduler:
    """Runs what is missing of a list of tasks.

    Args:
        tasks: each after what it needs.
        out: folder for `logs/` and `timing.json` (seconds by task, over all runs).
        workers: processes at once, each with one thread.
        inherited: file descriptors that all processes keep open.
    """

    def __init__(
        self, tasks: Sequence[Task], out: Path, workers: int, inherited: Sequence[int] = ()
    ) -> None:
        self.waiting = wanted(tasks)
        self.total = len(tasks)
        self.done = self._before = len(tasks) - len(self.waiting)
        self.failed: dict[str, str] = {}
        """Task -> what went wrong, one sentence."""
        self.left_out: list[str] = []
        """Tasks that need one of these."""
        self._layout, self._workers, self._inherited = Layout(out), workers, tuple(inherited)
        self._running: list[_Running] = []
        self._unfinished = {task.name for task in self.waiting}
        self._seconds = _read_timing(out / TIMING)
        self._kinds = {task.name: task.kind for task in tasks}
        self._complete = {task.name for task in tasks} - self._unfinished
        self._began = self._saved = time.monotonic()

    def run(self) -> None:
        """Run them all; a failed task is said, and what needs it is left out.

        Raises:
            KeyboardInterrupt: SIGINT or SIGTERM came; what ran has saved and ended.
        """
        if self._before:
            _say(f"{self._before} of {self.total} tasks were done before")
        with _signals_kept() as came:
            try:
                while (self.waiting or self._running) and not came:
                    self._start_ready()
                    self._collect()
                    if time.monotonic() - self._saved > SAVE_EVERY:
                        self._save()
                    time.sleep(POLL)
            finally:
                self._stop()
        if came:
            raise KeyboardInterrupt

    def _start_ready(self) -> None:
        self._leave_out()
        while True:
            ready = (t for t in self.waiting if not self._unfinished.intersection(t.needs))
            task = next(ready, None)
            if task is None or len(self._running) >= self._workers:
                return
            self.waiting.remove(task)
            self._running.append(_Running(task, self._start(task)))
            self._event(f"{task.name} started")

    def _leave_out(self) -> None:
        """Drop tasks that need one that failed or was left out."""
        lost = {*self.failed, *self.left_out}
        for task in list(self.waiting):
            if lost.intersection(task.needs):
                self.waiting.remove(task)
                self.left_out.append(task.name)

    def _start(self, task: Task) -> subprocess.Popen[bytes]:
        log = self._layout.log(task.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", *task.arguments]
        with log.open("ab") as file:
            file.write(f"$ {' '.join(('python -m', *task.arguments))}\n".encode())
            file.flush()
            return subprocess.Popen(
                [sys.executable, "-m", "evaluation.studies.guard", *command],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
                pass_fds=self._inherited,
            )

    def _collect(self) -> None:
        for running in list(self._running):
            code = running.process.poll()
            if code is None:
                continue
            self._end(running)
            task = running.task
            if code == 0 and task.done():
                self.done += 1
                self._unfinished.discard(task.name)
                self._complete.add(task.name)
                self._event(f"{task.name} done in {_clock(self._seconds[task.name])}")
            else:
                self._fail(task, code)
            self._save()

    def _fail(self, task: Task, code: int) -> None:
        log = self._layout.log(task.name)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        began = max(i for i, line in enumerate(lines) if line.startswith("$ "))  # earlier runs
        said = [line[7:] for line in lines[began:] if line.startswith("error: ")]
        if code == 0:
            reason = f"it ended without its result, {task.result}"
        elif said:
            reason = said[-1].rstrip(".")
        else:
            reason = f"exit code {code}"
        self.failed[task.name] = f"{task.name} failed: {reason}; its log is {log}."
        _say(self.failed[task.name])

    def _end(self, running: _Running) -> None:
        """Close its pipe, which ends it where it still runs, and count its seconds."""
        assert running.process.stdin is not None
        running.process.stdin.close()
        running.process.wait()
        self._running.remove(running)
        name = running.task.name
        self._seconds[name] = self._seconds.get(name, 0.0) + running.seconds

    def _stop(self) -> None:
        """End what runs: all pipes are closed first, so that all end at the same time."""
        for running in self._running:
            assert running.process.stdin is not None
            running.process.stdin.close()
        for running in list(self._running):
            self._end(running)
        self._save()

    def _save(self) -> None:
        self._saved = time.monotonic()
        now = dict(self._seconds)
        for running in self._running:
            now[running.task.name] = now.get(running.task.name, 0.0) + running.seconds
        rounded = {name: round(seconds, 1) for name, seconds in now.items()}
        write_atomically(self._layout.out / TIMING, to_json(rounded))

    def _event(self, what: str) -> None:
        """One line: what happened, how much is done, how fast, how much time is left."""
        minutes = (time.monotonic() - self._began) / 60
        line = f"{what}; {self.done}/{self.total} done"
        if self.done > self._before:
            line += f", {(self.done - self._before) / minutes:.1f} tasks/min"
            line += f", about {_clock(self._left())} left"
        _say(line)

    def _left(self) -> float:
        """Seconds left, as tasks of the same kind have taken; of any kind, where none has."""
        taken: dict[str, list[float]] = defaultdict(list)
        for name in self._complete & self._seconds.keys():
            taken[self._kinds[name]].append(self._seconds[name])
        every = [seconds for kind in taken.values() for seconds in kind]

        def expected(task: Task) -> float:
            like = taken.get(task.kind, every)
            return sum(like) / len(like)

        left = sum(map(expected, self.waiting))
        left += sum(max(0.0, expected(r.task) - r.seconds) for r in self._running)
        return left / self._workers


def _environment() -> Mapping[str, str]:
    """One thread a process: two such are much faster than one with two threads."""
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return {"PYTHONWARNINGS": "ignore", **os.environ, **threads, "PYTHONUNBUFFERED": "1"}


def _read_timing(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    try:
        return {str(k): float(v) for k, v in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"'{path}' is damaged: remove it.") from error


def _clock(seconds: float) -> str:
    return f"{round(seconds) // 60}:{round(seconds) % 60:02d}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
