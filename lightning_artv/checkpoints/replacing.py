"""Checkpoints, files or folders, written through to the disk and exchanged as a whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch


def save_file(checkpoint: Mapping[str, Any], path: Path) -> None:
    """`torch.save`, through to the disk; a full disk is known by its `OSError` here alone."""
    with path.open("wb") as file:
        torch.save(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())


def replace(temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path`; where a folder is involved, what is there steps aside first."""
    old = path.with_name(f".{path.name}.old")
    _remove(old)
    if path.is_symlink():
        path.unlink()
    elif path.is_dir() or (path.exists() and temporary.is_dir()):
        os.replace(path, old)
    os.replace(temporary, path)
    sync(path.parent)
    _remove(old)


def recover(folder: Path) -> None:
    """Give a checkpoint its name back that a killed run was about to replace in `folder`."""
    for old in folder.glob(".*.old"):
        path = folder / old.name[1 : -len(".old")]
        if not path.exists():
            with suppress(FileNotFoundError):  # another rank was first
                os.replace(old, path)


def link(source: Path, target: Path) -> bool:
    """Give the checkpoint `source` a second name, in place of what has it.

    Nothing is copied: both names are of the same bytes (of a folder: its files' names).

    Returns:
        whether the file system has such names.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        _remove(temporary)
        if source.is_dir():
            shutil.copytree(source, temporary, copy_function=os.link)
        else:
            os.link(source, temporary)
        replace(temporary, target)
    except OSError:  # `shutil.Error` too
        return False
    finally:
        _remove(temporary)
    return True


def sync(folder: Path) -> None:
    """Make a rename in the folder outlast a power failure."""
    if os.name != "posix":
        return  # a folder cannot be opened there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
