"""How still and how moved videos are; no weights are needed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from evaluation.metrics.base import PerVideoMetric, check_videos

SHORT_SIDE = 128  # at which optical flow is measured; larger frames are made smaller


class Flicker(PerVideoMetric):
    """Temporal flickering as VBench defines it (Huang et al. 2024): `1 - mean |x_t+1 - x_t| / 255`.

    1 for a still video; lower means more change from frame to frame, wanted or not. A slow drift of
    colour hardly shows (see `DriftCurve`).
    """

    higher_is_better = True

    def update(self, videos: Tensor) -> None:
        """Add uint8 videos `[B, T, 3, H, W]`, T at least 2."""
        check_videos(videos, frames=2)
        changes = [video.short().diff(dim=0).abs().double().mean() for video in videos]
        self._extend(torch.stack([1 - change / 255 for change in changes]))


class MotionMagnitude(PerVideoMetric):
    """Mean length of the optical flow, in percent of the frame's short side, from frame to frame.

    Farnebäck's dense flow (OpenCV) of the luma, over all pixels and pairs of neighbouring frames.
    It depends on the frame rate, sees noise as motion, and nothing in flat areas: a measure for
    comparing like with like, not of quality.
    """

    higher_is_better = None

    def update(self, videos: Tensor) -> None:
        """Add uint8 videos `[B, T, 3, H, W]`, T at least 2."""
        check_videos(videos, frames=2)
        values = [_flow_length(video.cpu().numpy()) for video in videos]
        self._extend(torch.tensor(values, dtype=torch.float64))


def _flow_length(video: np.ndarray) -> float:
    """Of uint8 `[T, 3, H, W]`, in percent of the short side per frame."""
    import cv2

    frames = [_small_luma(frame) for frame in video.transpose(0, 2, 3, 1)]
    lengths = []
    for before, after in pairwise(frames):
        flow = cv2.calcOpticalFlowFarneback(
            before,
            after,
            np.zeros((*before.shape, 2), np.float32),
            pyr_scale=0.5,
            levels=3,
            winsize=15,
            iterations=3,
            poly_n=5,
            poly_sigma=1.2,
            flags=0,
        )
        lengths.append(np.linalg.norm(flow, axis=-1).mean(dtype=np.float64))
    return float(100 * np.mean(lengths) / min(frames[0].shape))


def _small_luma(frame: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 3]` -> uint8 `[h, w]` with a short side of at most `SHORT_SIDE`."""
    import cv2

    luma = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    scale = SHORT_SIDE / min(luma.shape)
    if scale >= 1:
        return luma
    size = (round(luma.shape[1] * scale), round(luma.shape[0] * scale))
    return cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
