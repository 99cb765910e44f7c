"""A middle frame from its two ends: without training, by the learned flow, and refined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.networks.flow import Motion, resize_flow
from lightning_artv.systems.videogen.interpolation import slerp
from lightning_artv.systems.videogen.tsr import TemporalSuperResolution

DIS_LEAST = 32
"""Pixels of the short side that OpenCV's flow needs."""

Make = Callable[[TemporalSuperResolution, Tensor, Tensor, Tensor], Tensor]
"""`(part, ends in pixels [2, N, 3, H, W], first, last latents) -> latents of the middle`."""


def methods_for(frames: Tensor) -> dict[str, Make]:
    """Name -> method, of those that can read frames `[..., H, W]` of this size."""
    fits = min(frames.shape[-2:]) >= DIS_LEAST
    return {name: make for name, make in METHODS.items() if fits or name != "DIS"}


def _dis_motion(ends: Tensor, autoencoder: Autoencoder) -> Motion:
    """OpenCV's DIS flow between the ends, halved as if what moves moved straight, and a plain mean:
    what needs no training.

    Args:
        ends: uint8 `[2, N, 3, H, W]`.
        autoencoder: autoencoder on whose grid the flow is wanted.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = ends.float().mean(dim=2).round().byte().cpu().numpy()

    def flow(starts: NDArray[np.uint8], ends: NDArray[np.uint8]) -> NDArray[np.float32]:
        calc: Any = dis.calc  # its types know no None
        return np.stack([calc(*pair, None) for pair in zip(starts, ends, strict=True)])

    there, back = flow(grey[0], grey[1]), flow(grey[1], grey[0])
    quarter = torch.from_numpy(there - back).permute(0, 3, 1, 2).to(ends.device) / 4
    to_last = resize_flow(quarter, 1 / autoencoder.grid[1])
    return Motion(-to_last, to_last, torch.full_like(to_last[:, :1], 0.5))


def _dis(part: TemporalSuperResolution, ends: Tensor, first: Tensor, last: Tensor) -> Tensor:
    one, other = part.autoencoder.to_grid(first), part.autoencoder.to_grid(last)
    return part.autoencoder.from_grid(_dis_motion(ends, part.autoencoder).between(one, other))


METHODS: dict[str, Make] = {
    "repeated": lambda part, ends, first, last: first,
    "linear": lambda part, ends, first, last: (first + last) / 2,
    "slerp": lambda part, ends, first, last: slerp(first, last),
    "DIS": _dis,
    "warped": lambda part, ends, first, last: part.warped(first, last),
}
