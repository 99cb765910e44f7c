"""What every feature network offers: frozen, float32, uint8 videos in, one vector per video out."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from lightning_artv.errors import UserError


class Features(nn.Module, ABC):
    """A frozen network that turns videos (or frames) into feature vectors.

    float32, also inside a trainer's bf16. Whether a GPU rounds convolutions to TF32 is torch's
    global setting, which `python -m evaluation` turns off.

    Attributes:
        size: d of the returned `[B, d]`.
        name: `i3d`, `c3d`, `inception`; `random-i3d` for random weights, `i3d@1/16` for narrower
            ones. A metric's name carries it, so that such numbers are never taken for others.
        min_frames: fewest frames of a video; 1 for networks of single frames.
        max_frames: most frames, or None.
        digests: weight file -> sha256 of what was loaded; empty for random weights.
        network: the layers, in the keys of the published weight file.
    """

    size: int
    name: str
    min_frames: int = 1
    max_frames: int | None = None
    digests: dict[str, str]
    network: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.digests = {}

    def train(self, mode: bool = True) -> Features:
        """Stay in evaluation mode: the network is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, videos: Tensor) -> Tensor:
        """Turn uint8 videos `[B, T, 3, H, W]` (frame networks: `[N, 3, H, W]`) into float32
        `[B, d]`.

        Raises:
            UserError: too few frames, or too many.
            ValueError: not uint8 or another shape.
        """
        frame_network = self.max_frames == 1
        if videos.dtype != torch.uint8 or videos.ndim != 5 - frame_network or videos.shape[-3] != 3:
            axes = "[N, 3, H, W]" if frame_network else "[B, T, 3, H, W]"
            raise ValueError(
                f"{self.name} takes uint8 {axes}, got {videos.dtype} {tuple(videos.shape)}."
            )
        if not frame_network:
            self._check_frames(videos.shape[1])
        with torch.autocast(videos.device.type, enabled=False):
            return self.features(videos)

    @abstractmethod
    def features(self, videos: Tensor) -> Tensor:
        """`forward` without the checks."""

    def _check_frames(self, frames: int) -> None:
        if frames < self.min_frames or frames > (self.max_frames or frames):
            wanted = f"{'exactly' if self.max_frames else 'at least'} {self.min_frames}"
            raise UserError(
                f"The {self.name} network needs {wanted} frames a video and got {frames}: generate "
                f"longer videos or choose a protocol of {self.min_frames} frames."
            )
