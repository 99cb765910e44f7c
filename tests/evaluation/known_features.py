"""A feature network whose output is known: a video's first values are its features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evaluation.features.base import Features


class FirstValues(Features):
    """The first `size` values of a video (or frame) over 255, times an exact parameter of 1."""

    name = "first-values"

    def __init__(self, size: int, frames: bool = False, softmax: bool = False) -> None:
        super().__init__()
        self.size = size
        self.max_frames = 1 if frames else None
        self.softmax = softmax
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)

    def features(self, videos: Tensor) -> Tensor:
        values = videos.flatten(1)[:, : self.size].float() / 255 * self.scale
        return values.mul(9).softmax(dim=1) if self.softmax else values


def noise_videos(
    count: int, frames: int = 2, height: int = 4, width: int = 5, seed: int = 0
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(
        256, (count, frames, 3, height, width), generator=generator, dtype=torch.uint8
    )


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Independent standard normal values, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def relative(value: Tensor | float, truth: Tensor | float) -> float:
    """How far a value is from the truth, relative to the truth."""
    return abs(float(value) - float(truth)) / abs(float(truth))
