"""One frame or clip as a numpy array, checked."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from torch import Tensor

Frame: TypeAlias = Tensor | np.ndarray
"""uint8 `[3, H, W]` (torch only) or `[H, W, 3]`."""


def as_image(frame: Frame) -> np.ndarray:
    """A frame as contiguous uint8 `[H, W, 3]`.

    A torch frame whose first axis is 3 is taken as `[3, H, W]`, as the model makes it.

    Raises:
        ValueError: another shape or type.
    """
    if isinstance(frame, Tensor):
        if frame.dim() == 3 and frame.shape[0] == 3:
            frame = frame.permute(1, 2, 0)
        frame = frame.detach().cpu().numpy()
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(
            f"A frame must be uint8 [3, H, W] or [H, W, 3], got {frame.dtype} {frame.shape}."
        )
    return np.ascontiguousarray(frame)


def as_clip(frames: Tensor | np.ndarray) -> np.ndarray:
    """A clip as uint8 `[T, H, W, 3]` with at least one frame.

    Raises:
        ValueError: another shape or type.
    """
    clip = frames.detach().cpu().numpy() if isinstance(frames, Tensor) else frames
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3 or not len(clip):
        raise ValueError(f"A clip must be uint8 [T, H, W, 3], got {clip.dtype} {clip.shape}.")
    return clip
