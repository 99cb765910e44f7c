"""torchvision's RAFT, which shows a flow network where the true middle went; training only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_artv.errors import CorruptWeightsError, UserError
from lightning_artv.networks.state_dict import load_given
from lightning_artv.networks.weight_files import first_line

_LEAST = 128
"""Pixels of a side that RAFT's correlation pyramid needs."""


@dataclass
class RAFT:
    """Flow of pictures by trained weights, which are read when they are first needed.

    Args:
        weights: torchvision's file, such as `raft_large_C_T_SKHT_V2-ff5fadd5.pth`; read as data.
        sha256: expected digest of it.
        model: `large` or `small`.
    """

    weights: str
    sha256: str | None = None
    model: Literal["large", "small"] = "large"
    _network: nn.Module | None = field(default=None, init=False, repr=False)

    @torch.no_grad()
    def flow(self, frames: Tensor, others: Tensor) -> Tensor:
        """From each pixel of `frames` to where `others` show the same, float32 `[N, 2, H, W]`.

        Args:
            frames, others: uint8 `[N, 3, H, W]`.

        Raises:
            UserError: frames that are too small or not divisible by 8.
            MissingWeightsError, CorruptWeightsError: of the weights.
        """
        height, width = frames.shape[-2:]
        if height % 8 or width % 8 or min(height, width) < _LEAST:
            raise UserError(
                f"RAFT reads frames of at least {_LEAST} pixels divisible by 8, not "
                f"{height}x{width}: set data.size, or train without a teacher."
            )
        if self._network is None:
            self._network = self._load()
        network = self._network.to(frames.device)
        with torch.autocast(frames.device.type, enabled=False):
            flows = network(frames.float() / 127.5 - 1, others.float() / 127.5 - 1)
        last: Tensor = flows[-1]
        return last

    def _load(self) -> nn.Module:
        from torchvision.models import optical_flow  # takes a while to import

        missing = (
            f"There are no weights of RAFT at {{path}}: download torchvision's "
            f"raft_{self.model} there, or train without a teacher."
        )
        path, tensors = load_given(self.weights, self.sha256, missing)
        build = {"large": optical_flow.raft_large, "small": optical_flow.raft_small}[self.model]
        network = build(weights=None)
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise CorruptWeightsError(
                f"{path} does not hold raft_{self.model} ({first_line(error)}): give its own file."
            ) from error
        frozen: nn.Module = network.eval().requires_grad_(False)
        return frozen
