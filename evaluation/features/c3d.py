"""C3D fine-tuned on UCF-101, whose class probabilities the video Inception Score reads.

Tran et al. (2015); the score's network, weights and pixels are TGANv2's (Saito et al. 2018,
`tgan2/models/c3d/c3d_ucf101.py`).
"""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluation.features.base import Features

CLASSES = 101
STEM_WIDTH = 64
FRAMES = 16
SIDE = 112
MEAN_SHAPE = (3, FRAMES, 128, 171)
"""Of `mean2.npz`: BGR, frames, height, width."""


class C3D(Features):
    """Videos of exactly 16 frames to softmax probabilities of the 101 UCF-101 classes.

    Args:
        mean: mean training clip, `[3, 16, 128, 171]`, BGR, 0..255.
        width: width of the layers, for test-size networks; the name then says so.
    """

    min_frames = FRAMES
    max_frames = FRAMES
    offset: Tensor

    def __init__(self, mean: Tensor, width: Fraction = Fraction(1)) -> None:
        super().__init__()
        self.size = CLASSES
        self.name = "c3d" if width == 1 else f"c3d@{width}"
        self.network = _network(width)
        # TGANv2 takes rows and columns 8..119, which is not the centre of the 171 columns
        crop = mean.reshape(MEAN_SHAPE)[:, :, 8 : 8 + SIDE, 8 : 8 + SIDE]
        self.register_buffer("offset", 128 - crop.float())
        self.requires_grad_(False).eval()

    def features(self, videos: Tensor) -> Tensor:
        """Map uint8 `[B, 16, 3, H, W]` to probabilities, float32 `[B, 101]`."""
        logits: Tensor = self.network(self.pixels(videos))
        return logits.softmax(dim=1)

    def pixels(self, videos: Tensor) -> Tensor:
        """TGANv2's input `[B, 3, 16, 112, 112]`: [-1, 1] RGB → BGR × 128 → 112² + 128 - mean.

        TGANv2 reads its data as (pixel - 128) / 128, so that the two steps cancel.
        """
        bgr = (videos.float() - 128).flatten(0, 1).flip(1)
        square = F.interpolate(bgr, (SIDE, SIDE), mode="bilinear", align_corners=True)
        return square.unflatten(0, videos.shape[:2]).transpose(1, 2) + self.offset


def _network(width: Fraction) -> nn.Sequential:
    """`[B, 3, 16, 112, 112]` to logits `[B, 101]`. Dropout is for training only."""

    def scaled(channels: int) -> int:
        return max(1, round(channels * width))

    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for name, full, pool in (
        *(("1a", STEM_WIDTH, (1, 2, 2)), ("2a", 128, (2, 2, 2))),
        *(("3a", 256, None), ("3b", 256, (2, 2, 2))),
        *(("4a", 512, None), ("4b", 512, (2, 2, 2))),
        *(("5a", 512, None), ("5b", 512, (2, 2, 2))),
    ):
        layers[f"conv{name}"] = nn.Conv3d(channels, scaled(full), 3, padding=1)
        layers[f"relu{name}"] = nn.ReLU()
        channels = scaled(full)
        if pool is not None:  # Chainer's windows cover the border: the last pool turns 7 into 4
            layers[f"pool{name[0]}"] = nn.MaxPool3d(pool, pool, ceil_mode=True)
    layers["flatten"] = nn.Flatten()
    inputs, hidden = channels * 4 * 4, scaled(4096)
    layers["fc6"] = nn.Linear(inputs, hidden)
    layers["relu6"] = nn.ReLU()
    layers["fc7"] = nn.Linear(hidden, hidden)
    layers["relu7"] = nn.ReLU()
    layers["fc8"] = nn.Linear(hidden, CLASSES)
    return nn.Sequential(layers)


def no_mean() -> Tensor:
    """A mean clip of grey, for networks with random weights."""
    return torch.full(MEAN_SHAPE, 128.0)
