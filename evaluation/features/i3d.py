"""I3D on Kinetics-400, whose logits the Fréchet Video Distance compares.

Carreira and Zisserman, "Quo Vadis, Action Recognition?" (2017), Fig. 3; the Fréchet Video Distance
of Unterthiner et al. (2018) reads its 400 logits. Layers and keys are those of piergiaj's
`pytorch_i3d`: 344 keys, 12.697 M parameters, 57 batch normalisations with TensorFlow's eps 1e-3.
"""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluation.features.base import Features
from evaluation.features.preprocessing import VideoPreprocessing

CLASSES = 400
STEM_WIDTH = 64
"""Output channels of the first convolution at full width."""

Size3 = tuple[int, int, int]


class I3D(Features):
    """Videos to 400 Kinetics logits, averaged over the time that is left.

    Args:
        preprocessing: way from frames to 224 × 224 in [-1, 1].
        eps: epsilon of the batch normalisations: 1e-3 in the TensorFlow original and StyleGAN-V;
            VideoGPT, TATS and cd-fvd use 1e-5.
        width: width of the layers, for test-size networks; the name then says so.
    """

    min_frames = 9

    def __init__(
        self,
        preprocessing: VideoPreprocessing | None = None,
        eps: float = 1e-3,
        width: Fraction = Fraction(1),
    ) -> None:
        super().__init__()
        self.size = CLASSES
        self.name = "i3d" if width == 1 else f"i3d@{width}"
        self.preprocessing = preprocessing or VideoPreprocessing()
        self.network = _network(eps, width)
        self.requires_grad_(False).eval()

    def features(self, videos: Tensor) -> Tensor:
        """Map uint8 `[B, T, 3, H, W]` to logits, float32 `[B, 400]`."""
        logits: Tensor = self.network(self.preprocessing(videos))
        return logits.mean(dim=(2, 3, 4))


def _network(eps: float, width: Fraction) -> nn.Sequential:
    """`[B, 3, T, 224, 224]` to logits `[B, 400, T', 1, 1]`; T = 16 leaves T' = 1."""

    def scaled(*channels: int) -> list[int]:
        return [max(1, round(c * width)) for c in channels]

    def mixed(channels: int, *branches: int) -> tuple[Mixed, int]:
        b0, b1a, b1b, b2a, b2b, b3 = scaled(*branches)
        return Mixed(channels, b0, (b1a, b1b), (b2a, b2b), b3, eps), b0 + b1b + b2b + b3

    stem, second = scaled(STEM_WIDTH, 192)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["Conv3d_1a_7x7"] = Unit3D(3, stem, (7, 7, 7), (2, 2, 2), eps)
    layers["MaxPool3d_2a_3x3"] = MaxPool3dSame((1, 3, 3), (1, 2, 2))
    layers["Conv3d_2b_1x1"] = Unit3D(stem, stem, (1, 1, 1), (1, 1, 1), eps)
    layers["Conv3d_2c_3x3"] = Unit3D(stem, second, (3, 3, 3), (1, 1, 1), eps)
    layers["MaxPool3d_3a_3x3"] = MaxPool3dSame((1, 3, 3), (1, 2, 2))
    layers["Mixed_3b"], channels = mixed(second, 64, 96, 128, 16, 32, 32)
    layers["Mixed_3c"], channels = mixed(channels, 128, 128, 192, 32, 96, 64)
    layers["MaxPool3d_4a_3x3"] = MaxPool3dSame((3, 3, 3), (2, 2, 2))
    layers["Mixed_4b"], channels = mixed(channels, 192, 96, 208, 16, 48, 64)
    layers["Mixed_4c"], channels = mixed(channels, 160, 112, 224, 24, 64, 64)
    layers["Mixed_4d"], channels = mixed(channels, 128, 128, 256, 24, 64, 64)
    layers["Mixed_4e"], channels = mixed(channels, 112, 144, 288, 32, 64, 64)
    layers["Mixed_4f"], channels = mixed(channels, 256, 160, 320, 32, 128, 128)
    layers["MaxPool3d_5a_2x2"] = MaxPool3dSame((2, 2, 2), (2, 2, 2))
    layers["Mixed_5b"], channels = mixed(channels, 256, 160, 320, 32, 128, 128)
    layers["Mixed_5c"], channels = mixed(channels, 384, 192, 384, 48, 128, 128)
    layers["avg_pool"] = nn.AvgPool3d((2, 7, 7), stride=1)
    layers["logits"] = Logits(channels)
    return nn.Sequential(layers)


class Unit3D(nn.Module):
    """Convolution with TensorFlow's SAME padding, batch normalisation, ReLU."""

    def __init__(
        self, channels: int, out_channels: int, kernel: Size3, stride: Size3, eps: float
    ) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, out_channels, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(out_channels, eps=eps)
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.bn(self.conv3d(pad_same(x, self.kernel, self.stride)))
        return normalised.relu()


class Logits(nn.Module):
    """The last convolution: bias, no normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv3d(x)
        return logits


class Mixed(nn.Module):
    """An Inception module: 1×1; 1×1, 3×3; 1×1, 3×3; pooling, 1×1; side by side."""

    def __init__(
        self,
        channels: int,
        b0: int,
        b1: tuple[int, int],
        b2: tuple[int, int],
        b3: int,
        eps: float,
    ) -> None:
        super().__init__()
        one, three = (1, 1, 1), (3, 3, 3)
        self.b0 = Unit3D(channels, b0, one, one, eps)
        self.b1a = Unit3D(channels, b1[0], one, one, eps)
        self.b1b = Unit3D(b1[0], b1[1], three, one, eps)
        self.b2a = Unit3D(channels, b2[0], one, one, eps)
        self.b2b = Unit3D(b2[0], b2[1], three, one, eps)
        self.b3a = MaxPool3dSame(three, one)
        self.b3b = Unit3D(channels, b3, one, one, eps)

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x)))
        return torch.cat(branches, dim=1)


class MaxPool3dSame(nn.Module):
    """Max pooling with SAME padding. Zeros serve: every input comes from a ReLU."""

    def __init__(self, kernel: Size3, stride: Size3) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(pad_same(x, self.kernel, self.stride), self.kernel, self.stride)


def pad_same(x: Tensor, kernel: Size3, stride: Size3) -> Tensor:
    """Zeros so that each side gives ceil(side / stride) outputs; an odd one goes behind."""
    padding: list[int] = []
    for side, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        total = max((ceil(side / s) - 1) * s + k - side, 0)
        padding = [total // 2, total - total // 2, *padding]  # F.pad counts from the last axis
    return F.pad(x, padding)
