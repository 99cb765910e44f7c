"""Motion between two pictures, seen from the middle one that nobody knows (VideoGen Sec. 3.3).

The network is a small IFRNet (Kong et al., CVPR 2022): features of both ends in a pyramid, and from
coarse to fine flows that its decoders correct. It takes latents of any number of channels.

Flows are `[N, 2, h, w]`, (x, y) in the pixels of the picture that they belong to, from each pixel
of the middle to where an end shows the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_artv.errors import UserError, check_whole


def warp(pictures: Tensor, flow: Tensor) -> Tensor:
    """`pictures` `[N, C, h, w]` read where `flow` points to: bilinear between pixel centres, and
    beyond the border the border's colour.
    """
    height, width = pictures.shape[-2:]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)
    x = torch.arange(width, device=flow.device, dtype=flow.dtype)
    places = torch.stack([x + flow[:, 0], y[:, None] + flow[:, 1]], dim=-1)
    sides = torch.tensor([width, height], device=flow.device, dtype=flow.dtype)
    grid = (2 * places + 1) / sides - 1  # -1 and 1 are the outer edges of the first and last pixel
    return F.grid_sample(
        pictures, grid.to(pictures.dtype), padding_mode="border", align_corners=False
    )


def resize_flow(flow: Tensor, factor: float) -> Tensor:
    """A flow in a picture `factor` times larger; a smaller one is averaged. Its lengths grow with
    the picture, which the paper does not say: undivided, a warp is worse than a repeated frame.
    """
    size = (round(flow.shape[-2] * factor), round(flow.shape[-1] * factor))
    if factor < 1:
        return F.interpolate(flow, size, mode="area") * factor
    return F.interpolate(flow, size, mode="bilinear", align_corners=False) * factor


@dataclass(frozen=True)
class Motion:
    """What the network answers.

    Attributes:
        to_first: flow from the middle to the first end `[N, 2, h, w]`.
        to_last: flow from the middle to the last end.
        share: of the first end in the middle `[N, 1, h, w]`, in [0, 1].
    """

    to_first: Tensor
    to_last: Tensor
    share: Tensor

    def between(self, first: Tensor, last: Tensor) -> Tensor:
        """The middle of two pictures `[N, C, h, w]`: both ends warped to it and merged."""
        from_first, from_last = warp(first, self.to_first), warp(last, self.to_last)
        return self.share * from_first + (1 - self.share) * from_last


class FlowNetwork(nn.Module):
    """Flows from the middle of two pictures to either, and how to merge what they bring.

    Args:
        channels: number of channels of the pictures.
        levels: number of levels of the pyramid; each but the first halves the size. The longest
            motion that is seen is about `2 ** levels` pixels.
        width: channels of the first level's features.
        growth: how much wider each level is than the one before.

    Raises:
        UserError: no such network.
    """

    def __init__(
        self, channels: int, levels: int = 4, width: int = 24, growth: float = 1.4
    ) -> None:
        super().__init__()
        check_whole("levels", levels, 1)
        check_whole("width", width, 4)
        self.channels, self.levels = channels, levels
        self.width, self.growth = width, growth
        widths = [round(width * growth**level / 4) * 4 for level in range(levels)]
        self.encoders = nn.ModuleList(
            _encoder(channels if level == 0 else widths[level - 1], wide, 1 if level == 0 else 2)
            for level, wide in enumerate(widths)
        )
        self.decoders = nn.ModuleList(_Decoder(widths, level) for level in range(levels))

    def forward(self, first: Tensor, last: Tensor) -> Motion:
        """The motion between two pictures `[N, C, h, w]` of any size, which may be bfloat16.

        Raises:
            UserError: pictures of another number of channels.
        """
        if first.shape[1] != self.channels:
            raise UserError(
                f"The flow network reads {self.channels} channels but was given {first.shape[1]}: "
                "use the autoencoder that it was trained with."
            )
        height, width = first.shape[-2:]
        both = _padded(torch.cat([first, last]), 2 ** (self.levels - 1))
        features = self._pyramid(both)
        flows, hidden = None, None
        for level in reversed(range(self.levels)):
            one, other = features[level].chunk(2)
            flows, hidden = self.decoders[level](one, other, flows, hidden)
        assert flows is not None and hidden is not None
        cut = torch.cat([flows, hidden.float()], dim=1)[..., :height, :width]
        return Motion(cut[:, :2], cut[:, 2:4], cut[:, 4:].sigmoid())

    def _pyramid(self, pictures: Tensor) -> Sequence[Tensor]:
        """Features of each level, fine to coarse."""
        features = []
        for encoder in self.encoders:
            pictures = encoder(pictures)
            features.append(pictures)
        return features


class _Decoder(nn.Module):
    """Corrects the flows at one level, and hands them on to the next finer one, twice as large.

    Args:
        widths: features of all levels.
        level: its own; 0, the finest, answers how to merge in the place of features.
    """

    def __init__(self, widths: Sequence[int], level: int) -> None:
        super().__init__()
        wide, self.finest = widths[level], level == 0
        coarsest = level == len(widths) - 1
        into = 2 * wide if coarsest else 3 * wide + 4
        hidden = 2 * wide
        self.into = nn.Sequential(_convolution(into, hidden), _Residual(hidden))
        out = 4 + (1 if self.finest else widths[level - 1])
        self.out: nn.Module
        if self.finest:
            self.out = nn.Conv2d(hidden, out, 3, padding=1)
        else:
            self.out = nn.ConvTranspose2d(hidden, out, 4, stride=2, padding=1)
        with torch.no_grad():  # the first flows are nearly none
            for parameter in self.out.parameters():
                parameter.mul_(0.1)

    def forward(
        self, one: Tensor, other: Tensor, flows: Tensor | None, hidden: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Features of both ends `[N, C, h, w]`, flows to both `[N, 4, h, w]` and the coarser
        level's features, to flows (float32) and features of the next level.
        """
        if flows is None or hidden is None:
            seen = torch.cat([one, other], dim=1)
        else:
            brought = [warp(one, flows[:, :2]), warp(other, flows[:, 2:])]
            seen = torch.cat([*brought, hidden, flows.to(one.dtype)], dim=1)
        answer = self.out(self.into(seen))
        correction, features = answer[:, :4].float(), answer[:, 4:]
        if flows is not None:
            correction = correction + (flows if self.finest else resize_flow(flows, 2))
        return correction, features


class _Residual(nn.Module):
    """`x + C(C(x))`, then a PReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            _convolution(width, width), nn.Conv2d(width, width, 3, padding=1)
        )
        self.activation = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, h, w]` to the same shape."""
        answer: Tensor = self.activation(x + self.inner(x))
        return answer


def _encoder(into: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_convolution(into, out, stride), _convolution(out, out))


def _convolution(into: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, 3, stride, padding=1), nn.PReLU(out))


def _padded(pictures: Tensor, multiple: int) -> Tensor:
    """Pictures whose sides the pyramid can halve: the border is repeated."""
    right, below = -pictures.shape[-1] % multiple, -pictures.shape[-2] % multiple
    return F.pad(pictures, (0, right, 0, below), mode="replicate")
