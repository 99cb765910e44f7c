"""pytorch-fid's Inception, whose 2048 pooled features the Fréchet Inception Distance compares."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluation.features.base import Features

STEM_WIDTH = 32
SIDE = 299


class Inception(Features):
    """Frames to pool3 features. The architecture is pytorch-fid's, not torchvision's: its poolings
    follow TensorFlow's graph of 2015-12-05.

    Args:
        width: width of the layers, for test-size networks; the name then says so.
    """

    max_frames = 1

    def __init__(self, width: Fraction = Fraction(1)) -> None:
        super().__init__()
        self.name = "inception" if width == 1 else f"inception@{width}"
        network = _network()
        if width != 1:
            _narrow(network, width)
        self.network = network
        self.size = network.fc.in_features
        self.requires_grad_(False).eval()

    def features(self, videos: Tensor) -> Tensor:
        """Map uint8 `[N, 3, H, W]` to float32 `[N, 2048]`; resized to 299² without antialiasing."""
        x = F.interpolate(videos / 255, (SIDE, SIDE), mode="bilinear", align_corners=False)
        return _pool3(self.network, 2 * x - 1)


def _network() -> Any:
    """The layers that `pytorch_fid.inception.fid_inception_v3` assembles, which would download."""
    import torchvision
    from pytorch_fid import inception as fid

    network = torchvision.models.inception_v3(
        num_classes=1008, aux_logits=False, weights=None, init_weights=False
    )
    network.Mixed_5b = fid.FIDInceptionA(192, pool_features=32)
    network.Mixed_5c = fid.FIDInceptionA(256, pool_features=64)
    network.Mixed_5d = fid.FIDInceptionA(288, pool_features=64)
    network.Mixed_6b = fid.FIDInceptionC(768, channels_7x7=128)
    network.Mixed_6c = fid.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6d = fid.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6e = fid.FIDInceptionC(768, channels_7x7=192)
    network.Mixed_7b = fid.FIDInceptionE_1(1280)
    network.Mixed_7c = fid.FIDInceptionE_2(2048)
    return network


def _pool3(network: Any, x: Tensor) -> Tensor:
    """`[N, 3, 299, 299]` in [-1, 1] to the features before the classifier."""
    for name, layer in network.named_children():
        if name == "avgpool":
            break
        x = layer(x)
    return x.mean(dim=(2, 3))


@torch.no_grad()
def _narrow(network: Any, width: Fraction) -> None:
    """Shrink every layer. pytorch-fid fixes its widths in code, so a small frame is sent through
    and each convolution is replaced when it is reached, by one for the channels that arrive.
    """

    def shrink(block: Any, inputs: tuple[Tensor]) -> None:
        old = block.conv
        out = max(1, round(old.out_channels * width))
        block.conv = nn.Conv2d(
            inputs[0].shape[1], out, old.kernel_size, old.stride, old.padding, bias=False
        )
        block.bn = nn.BatchNorm2d(out, eps=block.bn.eps).eval()

    hooks: list[Callable[[], None]] = [
        block.register_forward_pre_hook(shrink).remove
        for block in network.modules()
        if hasattr(block, "conv") and hasattr(block, "bn")
    ]
    network.eval()
    features = _pool3(network, torch.zeros(1, 3, 75, 75))
    for remove in hooks:
        remove()
    network.fc = nn.Linear(features.shape[1], network.fc.out_features)
