"""What every command that writes a data set shares: all or nothing."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from lightning_artv.errors import UserError


@contextlib.contextmanager
def building(out: Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder to build `out` in, which takes its place on success and is removed on any error.

    Raises:
        UserError: `out` is a file, holds shards that are not to be overwritten or anything else,
            or cannot be written.
    """
    if out.is_file():
        raise UserError(f"{out} is a file; choose another name for the folder of shards.")
    held = list(out.iterdir()) if out.is_dir() else []
    foreign = sorted(path.name for path in held if path.suffix != ".tar")
    if foreign:
        raise UserError(f"{out} holds {foreign[0]}, which is no shard; choose another folder.")
    if held and not overwrite:
        raise UserError(f"{out} holds shards already; choose another folder or add --overwrite.")
    temporary = out.with_name(out.name + ".tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{temporary} cannot be made ({error.strerror}).") from error
    try:
        yield temporary
        if out.exists():
            shutil.rmtree(out)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
