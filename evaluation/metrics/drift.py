"""How the look of videos changes from their first frames on; no weights are needed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from evaluation.looks import MEASURES, measures
from evaluation.metrics.base import VideoMetric, check_videos
from lightning_artv.errors import UserError


@dataclass(frozen=True)
class Drift:
    """How four measures, all in units of the full range 0 to 1, drift over time.

    Attributes:
        samples: videos.
        curves: measure -> mean over the videos of its change against the mean of the video's own
            first frames, one number per frame.
        curves_sd: the same for the standard deviation over the videos.
        drift: measure -> mean over the videos of |mean of the first frames - mean of the last|
            (FramePack, Zhang & Agrawala 2025).
        drift_sd: the same for the standard deviation over the videos.
    """

    samples: int
    curves: dict[str, tuple[float, ...]]
    curves_sd: dict[str, tuple[float, ...]]
    drift: dict[str, float]
    drift_sd: dict[str, float]


class DriftCurve(VideoMetric):
    """Sharpness, saturation, brightness and contrast of each frame against the first frames.

    `compute()` gives the four drifts as float64 `[4]`, `result()` the curves as well.

    Args:
        frames: T of all videos.
        share: how much of a video its first and its last frames are, at least one frame each.
    """

    higher_is_better = False
    count: Tensor
    sums: Tensor
    squares: Tensor

    def __init__(self, frames: int, share: float = 0.15) -> None:
        super().__init__()
        if frames < 2 or not 0 < share <= 0.5:
            raise UserError(
                f"A drift needs videos of at least 2 frames and a share in (0, 0.5], got {frames} "
                f"frames and {share}."
            )
        self.frames = frames
        self.ends = max(1, math.floor(share * frames))
        # of each video T x 4 changes, then 4 drifts: small numbers, so plain sums lose nothing
        size = (frames + 1, len(MEASURES))
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("sums", torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("squares", torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, videos: Tensor) -> None:
        """Add uint8 videos `[B, T, 3, H, W]`.

        Raises:
            UserError: videos of another length.
        """
        check_videos(videos)
        if videos.shape[1] != self.frames:
            raise UserError(
                f"The drift curve needs videos of {self.frames} frames, got {videos.shape[1]}; "
                "take clips of one length."
            )
        for video in videos:
            values = self._changes(measures(video)).to(self.sums.device)
            self.count += 1
            self.sums += values
            self.squares += values.square()

    def _changes(self, values: Tensor) -> Tensor:
        """`[T, 4]` measures -> `[T + 1, 4]`: each frame's change, and the drift."""
        first, last = values[: self.ends].mean(dim=0), values[-self.ends :].mean(dim=0)
        return torch.cat([values - first, (last - first).abs()[None]])

    def result(self) -> Drift:
        """Curves and drifts over all ranks.

        Raises:
            UserError: no videos.
        """
        with self._synced():
            mean, sd, count = *self._mean_and_sd(), int(self.count)
        return Drift(
            samples=count,
            curves={name: tuple(mean[:-1, i].tolist()) for i, name in enumerate(MEASURES)},
            curves_sd={name: tuple(sd[:-1, i].tolist()) for i, name in enumerate(MEASURES)},
            drift={name: float(mean[-1, i]) for i, name in enumerate(MEASURES)},
            drift_sd={name: float(sd[-1, i]) for i, name in enumerate(MEASURES)},
        )

    def compute(self) -> Tensor:
        """The four drifts in the order of `MEASURES`, float64 `[4]`."""
        return self._mean_and_sd()[0][-1]

    def _mean_and_sd(self) -> tuple[Tensor, Tensor]:
        if not self.count:
            raise UserError("DriftCurve was given no videos; add some.")
        mean = self.sums / self.count
        variance = (self.squares / self.count - mean.square()).clamp(min=0)
        return mean, (variance * self.count / (self.count - 1).clamp(min=1)).sqrt()
