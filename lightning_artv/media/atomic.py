"""Files and folders that appear whole under their name, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_artv.errors import UserError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A hidden temporary name beside `path`: renamed to it at a successful end, else removed.

    A file replaces a file of that name, a folder an empty folder; missing parent folders are made.

    Raises:
        UserError: the place cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
    try:
        yield temporary
        with writing_to(path):
            os.replace(temporary, path)
    finally:
        _remove(temporary)


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    with atomic_path(path) as temporary, writing_to(path):
        temporary.write_bytes(data)


@contextmanager
def writing_to(path: str | Path) -> Iterator[None]:
    """Turn the operating system's refusal to write (a full disk, no permission) into a `UserError`.

    Wrap only the writing itself: an `OSError` of the caller's own work must not be taken for one.
    """
    try:
        yield
    except OSError as error:  # PyAV's errors of this kind are OSErrors too
        reason = error.strerror or str(error)
        raise UserError(
            f"Cannot write {path}: {reason}; free some space or choose another place."
        ) from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
