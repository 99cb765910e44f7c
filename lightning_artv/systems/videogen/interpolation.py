"""A pass of temporal super-resolution (paper Sec. 3.3): T frames become 2T - 1; pure.

Pictures are `[N, C, h, w]`, clips `[B, T, C, h, w]`.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_artv.errors import UserError

Combine = Literal["end", "every_step"]
"""When the low band of the warped frame is put in: once at the end, or after each denoising step as
ILVR does, which the paper cites."""


def pairs(clips: Tensor) -> tuple[Tensor, Tensor]:
    """The ends between which a pass makes frames, `[B * (T - 1), C, h, w]` each.

    Raises:
        UserError: a single frame.
    """
    if clips.shape[1] < 2:
        raise UserError("Between the frames of a clip of 1 frame there is none to make: give 2.")
    return clips[:, :-1].flatten(0, 1), clips[:, 1:].flatten(0, 1)


def interleave(clips: Tensor, middles: Tensor) -> Tensor:
    """`[B, 2T - 1, C, h, w]`: the frames as they are and, between them, those made
    `[B * (T - 1), C, h, w]`.
    """
    between = middles.unflatten(0, (len(clips), -1))
    woven = torch.stack([clips[:, :-1], between.to(clips.dtype)], dim=2).flatten(1, 2)
    return torch.cat([woven, clips[:, -1:]], dim=1)


def frames_after(frames: int, passes: int) -> int:
    """How many frames become of so many: 16, 31, 61, 121."""
    return (frames - 1) * 2**passes + 1


def low_band(pictures: Tensor, factor: int) -> Tensor:
    """Pictures without what is finer than `factor` pixels: down by areas, up bilinearly.

    Sides that `factor` does not divide are continued by the border's colour.
    """
    height, width = pictures.shape[-2:]
    padding = (0, -width % factor, 0, -height % factor)
    padded = F.pad(pictures, padding, mode="replicate")
    small = F.avg_pool2d(padded, factor)
    large = F.interpolate(small, padded.shape[-2:], mode="bilinear", align_corners=False)
    return large[..., :height, :width]


def combined(warped: Tensor, refined: Tensor, factor: int) -> Tensor:
    """The low band of the warped pictures with the high band of the refined ones."""
    return refined + low_band(warped - refined, factor)


def slerp(first: Tensor, last: Tensor, share: float = 0.5) -> Tensor:
    """Spherical interpolation of whole pictures: what the paper's Fig. 6 compares with.

    Nearly parallel ones are interpolated linearly.
    """
    one, other = first.flatten(1).double(), last.flatten(1).double()
    norms = one.norm(dim=1) * other.norm(dim=1)
    cosine = ((one * other).sum(dim=1) / norms.clamp_min(1e-12)).clamp(-1, 1)
    angle = torch.arccos(cosine)[:, None]
    straight = (1 - share) * one + share * other
    curved = torch.sin((1 - share) * angle) * one + torch.sin(share * angle) * other
    bent = torch.sin(angle) > 1e-6
    mixed = torch.where(bent, curved / torch.sin(angle).clamp_min(1e-6), straight)
    return mixed.view_as(first).to(first.dtype)
