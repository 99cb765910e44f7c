"""Checkpoints of the strategies that do not shard: files, and folders that FSDP2 wrote."""

from __future__ import annotations

from typing import Any

from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.plugins import TorchCheckpointIO

from lightning_artv.training.checkpoint import read_checkpoint


class CheckpointFiles(TorchCheckpointIO):
    """Reads a file or a sharded folder; nothing in either is unpickled."""

    def load_checkpoint(
        self, path: _PATH, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The checkpoint, its tensors on the CPU.

        Raises:
            UserError: no such checkpoint, or a damaged one.
        """
        return read_checkpoint(path)
