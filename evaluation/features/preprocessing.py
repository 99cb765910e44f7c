"""Pixels for I3D: the one step in which the published Fréchet Video Distances differ most."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class VideoPreprocessing:
    """How frames of any size become the square that a network reads, bilinear, values in [-1, 1].

    Published variants, at size 224: the TensorFlow original, StyleGAN-V and TATS stretch without
    antialiasing; VideoGPT scales the short side and crops the centre, without antialiasing; cd-fvd
    stretches what its reader has cropped with antialiasing.

    Attributes:
        resize: `stretch` both sides to `size`, or scale the short side and `crop` the centre.
        antialias: filter when shrinking.
        size: side of the square in pixels.
    """

    resize: str = "stretch"
    antialias: bool = False
    size: int = 224

    def __post_init__(self) -> None:
        if self.resize not in ("stretch", "crop"):
            raise ValueError(f"resize must be 'stretch' or 'crop', got {self.resize!r}.")

    def __call__(self, videos: Tensor) -> Tensor:
        """Map uint8 `[B, T, 3, H, W]` to float32 `[B, 3, T, size, size]` in [-1, 1]."""
        frames = videos.flatten(0, 1).float()
        resized = F.interpolate(
            frames, self._target(*frames.shape[-2:]), mode="bilinear", antialias=self.antialias
        )
        top, left = ((n - self.size) // 2 for n in resized.shape[-2:])
        square = resized[..., top : top + self.size, left : left + self.size]
        return (square / 127.5 - 1).unflatten(0, videos.shape[:2]).transpose(1, 2)

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if self.resize == "stretch":
            return self.size, self.size
        scale = self.size / min(height, width)
        if height < width:
            return self.size, math.ceil(width * scale)
        return math.ceil(height * scale), self.size
