"""How a frame looks, in four numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MEASURES = ("sharpness", "saturation", "brightness", "contrast")
LUMA = (0.299, 0.587, 0.114)  # BT.601


def measures(video: Tensor) -> Tensor:
    """Sharpness, saturation, brightness, contrast of each frame.

    Sharpness is the standard deviation of the luma's Laplacian, saturation the mean of HSV's S,
    brightness and contrast the luma's mean and standard deviation; all of values in [0, 1].

    Args:
        video: uint8 `[T, 3, H, W]`.

    Returns:
        float64 `[T, 4]`.
    """
    return torch.stack([_measures_of_frame(frame.double() / 255) for frame in video])


def _measures_of_frame(frame: Tensor) -> Tensor:
    """`[3, H, W]` in [0, 1] -> `[4]`, in the order of `MEASURES`."""
    luma = torch.einsum("c,chw->hw", frame.new_tensor(LUMA), frame)
    brightest, darkest = frame.amax(dim=0), frame.amin(dim=0)
    # black has no colour: 0 / tiny
    saturation = (brightest - darkest) / brightest.clamp(min=torch.finfo(frame.dtype).tiny)
    sharpness = _laplacian(luma).std(correction=0)
    return torch.stack([sharpness, saturation.mean(), luma.mean(), luma.std(correction=0)])


def _laplacian(luma: Tensor) -> Tensor:
    """Of `[H, W]`: the four neighbours less four times the pixel, mirrored at the border."""
    padded = F.pad(luma[None, None], (1, 1, 1, 1), mode="reflect")[0, 0]
    neighbours = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return neighbours - 4 * luma
