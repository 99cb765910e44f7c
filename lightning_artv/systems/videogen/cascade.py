"""What a stage of the cascade is shown (paper Sec. 3.2): the reference picture in the first frame's
channels, and the stage before it, doubled; pure but for the autoencoder.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_artv.networks.autoencoder import Autoencoder

Upsampling = Literal["latents", "pixels"]
"""How the stage before is doubled: its latents (the paper's), or the pictures they decode to."""


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


def doubled(autoencoder: Autoencoder, lower: Tensor, upsampling: Upsampling = "latents") -> Tensor:
    """U: latents of the stage before `[B, T, C, h, w]` at twice the size, bilinearly."""
    flat = lower.flatten(0, 1)
    if upsampling == "pixels":
        pictures = autoencoder.decode(flat)
        height, width = pictures.shape[-2:]
        made = autoencoder.encode(resized(pictures, (2 * height, 2 * width)))
    else:
        grid = autoencoder.to_grid(flat)
        large = F.interpolate(grid, scale_factor=2.0, mode="bilinear", align_corners=False)
        made = autoencoder.from_grid(large)
    return made.unflatten(0, lower.shape[:2])
