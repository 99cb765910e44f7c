"""Checkpoint files that appear whole under their name, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lightning_artv.errors import UserError
from lightning_artv.media.atomic import atomic_path
from lightning_artv.training.checkpoint import read_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the final name, to the disk itself, and then renames.

    Lightning's own writes the file to the folder of temporary files and moves it: across file
    systems that is a copy, which a kill leaves half done under the final name. What an earlier,
    killed process left is removed.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a local file.

        Raises:
            UserError: a remote path, or one that cannot be written.
        """
        if "://" in str(path):
            raise UserError(f"Checkpoints are written to local folders only, which {path} is not.")
        path = Path(path)
        for stale in path.parent.glob(f".{path.name}.*.part"):
            stale.unlink()
        with atomic_path(path) as temporary:
            _write(checkpoint, temporary)
            if path.is_dir():  # a sharded run's: a file cannot replace it
                shutil.rmtree(path)
        _sync(path.parent)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """A file, or the folder of a sharded run; on the CPU, and never unpickled.

        Raises:
            UserError: no such checkpoint, or a damaged one.
        """
        return read_checkpoint(Path(path))


def _write(checkpoint: Mapping[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        torch.save(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make a rename in the folder outlast a power failure."""
    if os.name != "posix":
        return  # a folder cannot be opened there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
