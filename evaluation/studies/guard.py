"""`python -m evaluation.studies.guard COMMAND...`: a command that ends when its parent does.

The parent keeps the other end of stdin. When that closes, because the parent let go of it or was
killed, the command gets SIGTERM (a training then saves a checkpoint), and SIGKILL if that is not
enough. Whatever the command started in its session ends with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

PATIENCE = 20.0
"""Seconds from SIGTERM to SIGKILL."""


def main(command: list[str]) -> int:
    """Run the command; its exit code, or 128 plus the number of the signal that ended it."""
    # what the parent let this process inherit, such as its lock, the command inherits too
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, close_fds=False
    )
    threading.Thread(target=_watch, args=(child,), daemon=True).start()
    code = child.wait()
    _kill(child.pid)
    return code if code >= 0 else 128 - code


def _watch(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1):
        pass
    child.terminate()
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        _kill(child.pid)


def _kill(session: int) -> None:
    """End what is left of a session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(session, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
