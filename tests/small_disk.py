"""File systems of a few pages, or that nobody can write to, for tests of full and closed disks."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Within, `folder` is a file system in memory, such as of `size=2m`; skips without the right.

    Args:
        folder: made here.
        options: of mount.
    """
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        failed = subprocess.run(command, capture_output=True, check=False).returncode
    except OSError:
        failed = 1
    if failed:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
