"""Checkpoint files that appear whole under their name, or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

from lightning_artv.checkpoints.file import read_checkpoint
from lightning_artv.checkpoints.replacing import replace, save_file
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import writing_to
from lightning_artv.training.run_folder import newest_named


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
            UserError: a remote path, or one that cannot be written; it names the newest whole one.
        """
        if "://" in str(path):
            raise UserError(f"Checkpoints are written to local folders only, which {path} is not.")
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        with newest_named(path.parent), writing_to(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            for stale in path.parent.glob(f".{path.name}.*.part"):
                stale.unlink()
            try:
                save_file(checkpoint, temporary)
                replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

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
