"""Files and folders that appear whole under their name, or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from lightning_artv.errors import FULL, UserError


@contextmanager
def atomic_path(path: str | Path, partial: Path | None = None) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it at a successful end.

    A file replaces a file of that name, a folder an empty folder; missing parent folders are made.

    Args:
        path: what is to appear, whole or not at all.
        partial: a temporary name that is kept when the end is not successful. None: a hidden one,
            which is removed then.

    Raises:
        UserError: the place cannot be written.
    """
    path = Path(path)
    temporary = partial or path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(temporary)
    try:
        yield temporary
        with writing_to(path):
            os.replace(temporary, path)
    finally:
        if partial is None:
            remove(temporary)


@contextmanager
def alone(path: str | Path) -> Iterator[None]:
    """Within, no other process that asks so writes `path`; a killed one's claim ends with it.

    Raises:
        UserError: another one is at it, or the place cannot be written.
    """
    path = Path(path)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            raise UserError(
                f"Another process is writing {path}: wait for its end, or name another output."
            ) from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: nobody loses a lock
        lock.release()


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    with atomic_path(path) as temporary, writing_to(path):
        temporary.write_bytes(data)


def replace_end(file: BinaryIO, at: int, data: bytes) -> None:
    """Put `data` in the place of all that follows the first `at` bytes of an unbuffered file.

    Where the disk refuses, or a signal ends the work, what was there stays, so that a file is whole
    after every call.
    """
    file.seek(at)
    old = file.read()
    try:
        _write(file, at, data)
    except BaseException:
        _write(file, at, old)
        raise


def _write(file: BinaryIO, at: int, data: bytes) -> None:
    file.seek(at)
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
    file.truncate()


@contextmanager
def writing_to(path: str | Path) -> Iterator[None]:
    """Turn the operating system's refusal to write (a full disk, no permission) into a `UserError`.

    Wrap only the writing itself: an `OSError` of the caller's own work must not be taken for one.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # some of torch's are no `Exception`s
        refusal = os_error(error)
        if refusal is None:
            raise
        raise UserError(not_written(path, refusal)) from error


def not_written(path: str | Path, error: OSError) -> str:
    """The sentence that `path` cannot be written for `error`, and what helps."""
    helps = "free some space or choose" if error.errno in FULL else "choose"
    return f"Cannot write {path}: {error.strerror or error}; {helps} another place."


def os_error(error: BaseException) -> OSError | None:
    """The operating system's error that `error` is, was raised for, or tells of in its text.

    PyAV's are `OSError`s; torch raises its own while it handles one, safetensors gives the number,
    and torch.distributed collects those of all ranks.
    """
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, OSError):
            return chain
        if number := re.search(r"\(os error (\d+)\)", str(chain)):
            return OSError(int(number[1]), os.strerror(int(number[1])))
        for first, *_ in getattr(chain, "failures", {}).values():
            if (found := os_error(first)) is not None:
                return found
        chain = chain.__cause__ or chain.__context__
    return None


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
