"""What a stage of the cascade is shown (paper Sec. 3.2): the reference picture in the first frame's
channels, and the stage before it, doubled; pure but for the autoencoder.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_artv.networks.autoencoder import Autoencoder

Upsampling = Literal["latents", "pixels", "learned"]
"""How the stage before is doubled: its latents (the paper's), the pictures they decode to, or its
latents, sharpened by convolutions that train with the stage (ours)."""


_SMALL = 0.1
"""What doubled pictures miss is about so large; a step of training should be no larger."""


class Sharpener(nn.Module):
    """A few convolutions that add to doubled pictures what they have learned to miss; at first
    nothing.

    A U-Net over folded pixels would have to learn that at each place of the fold anew.

    Args:
        channels: number of channels of the pictures.
        width: channels in between.
        layers: number of convolutions.
    """

    def __init__(self, channels: int, width: int = 32, layers: int = 5) -> None:
        super().__init__()
        self.channels = channels
        sides = [channels, *[width] * (layers - 1), channels]
        convolutions = [
            nn.Conv2d(one, other, 3, padding=1, padding_mode="replicate")
            for one, other in pairwise(sides)
        ]
        for parameter in convolutions[-1].parameters():
            nn.init.zeros_(parameter)
        inner = [module for c in convolutions[:-1] for module in (c, nn.SiLU())]
        self.layers = nn.Sequential(*inner, convolutions[-1])

    def forward(self, pictures: Tensor) -> Tensor:
        """`[N, C, h, w]` to the same shape."""
        sharper: Tensor = pictures + _SMALL * self.layers(pictures)
        return sharper


def resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 pictures `[N, 3, H, W]` at another size, without aliasing."""
    if pixels.shape[-2:] == size:
        return pixels
    small = F.interpolate(pixels.float(), size, mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)


def in_first_frame(reference: Tensor, frames: int) -> Tensor:
    """R: `R[0]` is the reference `[B, C, h, w]`, the other frames are zero; `[B, T, C, h, w]`."""
    shown = reference.new_zeros(len(reference), frames, *reference.shape[1:])
    shown[:, 0] = reference
    return shown


def in_all_frames(reference: Tensor, frames: int) -> Tensor:
    """The reference in every frame's channels (ours), `[B, T, C, h, w]`."""
    return reference[:, None].expand(-1, frames, -1, -1, -1)


def doubled(
    autoencoder: Autoencoder,
    lower: Tensor,
    upsampling: Upsampling = "latents",
    sharpener: Sharpener | None = None,
) -> Tensor:
    """U: latents of the stage before `[B, T, C, h, w]` at twice the size, bilinearly, and perhaps
    sharpened.
    """
    flat = lower.flatten(0, 1)
    if upsampling == "pixels":
        pictures = autoencoder.decode(flat)
        height, width = pictures.shape[-2:]
        made = autoencoder.encode(resized(pictures, (2 * height, 2 * width)))
    else:
        grid = autoencoder.to_grid(flat)
        large = F.interpolate(grid, scale_factor=2.0, mode="bilinear", align_corners=False)
        made = autoencoder.from_grid(large if sharpener is None else sharpener(large))
    return made.unflatten(0, lower.shape[:2])
