"""Waiting for events of other processes; the clock only ends what hangs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

GUARD = 3600.0
"""Seconds after which something hangs for good, however busy the machine is."""


def wait_until(condition: Callable[[], Any], what: str, process: Any = None) -> None:
    """Return as soon as `condition()` is true.

    Args:
        what: said when it does not become true.
        process: a `subprocess.Popen` that has to be alive meanwhile.
    """
    end = time.monotonic() + GUARD
    while not condition():
        ended = None if process is None else process.poll()
        assert ended is None or condition(), f"{what}: the process ended with {ended}"
        assert time.monotonic() < end, what
        time.sleep(0.02)
