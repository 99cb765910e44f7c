"""Processes of their own that begin with everything imported.

They are forked from a server that has done nothing but import, so each is as fresh as a new
interpreter, with its own memory, signals and exit code, without the seconds of imports. What a
start of the interpreter itself does is tested where `subprocess` is used.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waiting import GUARD

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "lightning_artv.training.command",
        "lightning_artv.systems.artv.system",
        "lightning_artv.pipelines.loading",
        "data_prep.measure.captions.model",
        "data_prep.measure.analyse",
        "data_prep.shards.write",
        "evaluation.generate",
    ]
)


class Forked:
    """A function at work in a process of its own, as `subprocess.Popen` is a program.

    Args:
        log: file that gets what it writes to stdout and stderr.
        function: of a module that can be imported; ends with exit code 0 unless it says otherwise.
        arguments: of the function, picklable.
        environment: variables that it has besides this process's.
    """

    def __init__(
        self, log: Path, function: Callable[..., Any], *arguments: Any, **environment: str
    ) -> None:
        self.log = log
        variables = {**os.environ, **environment}
        self.process = SERVER.Process(
            target=_work, args=(str(log), os.getcwd(), variables, function, arguments)
        )
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def poll(self) -> int | None:
        """The exit code, minus the number of a signal that ended it, or None while it lives."""
        return self.process.exitcode

    def wait(self, timeout: float = GUARD) -> int:
        """The exit code, once it has ended."""
        self.process.join(timeout)
        code = self.process.exitcode
        assert code is not None, f"it still runs: {self.said()}"
        return code

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.process.kill()
        self.process.join()

    def said(self) -> str:
        """What it has written to stdout and stderr."""
        return self.log.read_text()


@dataclass(frozen=True)
class Ended:
    """What became of a process."""

    code: int
    said: str


def ended(log: Path, function: Callable[..., Any], *arguments: Any, **environment: str) -> Ended:
    """Run a function in a process of its own to its end; see `Forked`."""
    forked = Forked(log, function, *arguments, **environment)
    return Ended(forked.wait(), forked.said())


def module(name: str, *arguments: str) -> None:
    """What `python -m NAME ARGUMENTS` runs."""
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _work(
    log: str,
    folder: str,
    variables: dict[str, str],
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 2)
    os.dup2(handle, 1)
    os.close(handle)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    multiprocessing.set_start_method("fork", force=True)  # as in a process of its own
    function(*arguments)
