"""Kernel Video Distance: a squared MMD, unbiased at every N (Unterthiner et al. 2018)."""

from __future__ import annotations

from torch import Tensor

from evaluation.features.base import Features
from evaluation.metrics.base import Score, ScoredMetric, check_videos
from evaluation.statistics import Reference, kernel_distance
from lightning_artv.errors import UserError


class KernelVideoDistance(ScoredMetric):
    """Unbiased squared MMD of video features with the kernel `(x·y / d + 1)^3`.

    It needs all pairs, so every video's features are kept: 16 MB for 10,000 videos of I3D.

    Args:
        features: the network, I3D's logits for KVD.
        reference: the real side with its features, if it is known.
    """

    higher_is_better = False

    def __init__(self, features: Features, *, reference: Reference | None = None) -> None:
        super().__init__()
        if reference is not None and reference.features is None:
            raise UserError(
                "KVD needs individual features, which this reference lacks; measure it again with "
                "keep_features=True."
            )
        self.features = features
        self.reference = reference
        self._add_rows("real", features.size)
        self._add_rows("fake", features.size)

    def update(self, videos: Tensor, real: bool) -> None:
        """Add uint8 videos `[B, T, 3, H, W]` of one side.

        Raises:
            UserError: too few frames, or real videos beside a reference.
        """
        if real and self.reference is not None:
            raise UserError("The real side is a stored reference: give generated videos only.")
        check_videos(videos)
        self._extend_rows("real" if real else "fake", self.features(videos))

    def _score(self) -> Score:
        known = None if self.reference is None else self.reference.features
        fake = self._rows("fake")
        real = self._rows("real") if known is None else known.to(fake.device)
        distance = kernel_distance(real, fake)
        return Score(distance.value, len(fake), len(real), standard_error=distance.standard_error)
