"""Fréchet distances of videos (FVD, Unterthiner et al. 2018) and of their frames (FID)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from evaluation.features.base import Features
from evaluation.metrics.base import Score, ScoredMetric, check_videos
from evaluation.statistics import (
    Extrapolation,
    Gaussian,
    Reference,
    frechet_distance,
    frechet_distance_of_features,
    fvd_infinity,
)
from lightning_artv.errors import UserError

FRAMES_AT_ONCE = 64


class FrechetVideoDistance(ScoredMetric):
    """Fréchet distance between the features of real and of generated videos.

    Its memory does not grow with N: two float64 `[d + 2, d]` states, 2.6 MB for I3D. With
    `keep_features` every vector is kept besides, which FVD∞ needs: 16 MB for 10,000 videos of I3D.

    Args:
        features: the network, I3D's logits for FVD.
        ddof: covariance over `N - ddof`, part of the protocol.
        keep_features: keep each video's features for `infinity`.
        reference: the real side, if it is known; then only generated videos are to be given.
        expected_real, expected_fake: the protocol's N; with fewer samples the score carries a note.
    """

    higher_is_better = False
    kind = "videos"

    def __init__(
        self,
        features: Features,
        ddof: int = 1,
        *,
        keep_features: bool = False,
        reference: Reference | None = None,
        expected_real: int | None = None,
        expected_fake: int | None = None,
    ) -> None:
        super().__init__()
        _check_reference(reference, features, keep_features)
        self.features = features
        self.ddof = ddof
        self.keep_features = keep_features
        self.reference = reference
        self.expected = (expected_real, expected_fake)
        for name in ("real", "fake"):
            self._add_gaussian(name, features.size)
            if keep_features:
                self._add_rows(f"{name}_features", features.size)

    def update(self, videos: Tensor, real: bool) -> None:
        """Add uint8 videos `[B, T, 3, H, W]` of one side, T as the network needs it.

        Raises:
            UserError: features that are not finite, too few frames, or real videos beside a
                reference.
        """
        if real and self.reference is not None:
            raise UserError("The real side is a stored reference: give generated videos only.")
        check_videos(videos)
        self._extend(self._features_of(videos), "real" if real else "fake")

    def _features_of(self, videos: Tensor) -> Tensor:
        return self.features(videos)

    def _extend(self, vectors: Tensor, name: str) -> None:
        self._extend_gaussian(name, vectors)
        if self.keep_features:
            self._extend_rows(f"{name}_features", vectors)

    def samples(self, real: bool) -> int:
        """How many samples of a side were given, over all ranks."""
        with self._synced():
            return self._side(real).count

    def collected(self, real: bool, about: Mapping[str, str] | None = None) -> Reference:
        """A side's statistics over all ranks, to be saved and given to later metrics."""
        with self._synced():
            gaussian = self._side(real)
            features = self._rows_of(real) if self.keep_features else None
        return Reference(gaussian, features, about or {})

    def infinity(self, seed: int = 0) -> Extrapolation:
        """The distance at infinitely many samples, with its standard error, over all ranks.

        Raises:
            UserError: made without `keep_features`, or fewer than 16 samples in a set.
        """
        if not self.keep_features:
            raise UserError("FVD∞ needs individual features: set keep_features=True.")
        with self._synced():
            real, fake = self._rows_of(True), self._rows_of(False)
        return fvd_infinity(real, fake, self.ddof, seed)

    def _side(self, real: bool) -> Gaussian:
        if real and self.reference is not None:
            known = self.reference.gaussian
            return Gaussian(known.count, known.mean.to(self.device), known.scatter.to(self.device))
        return self._gaussian("real" if real else "fake")

    def _rows_of(self, real: bool) -> Tensor:
        if real and self.reference is not None and self.reference.features is not None:
            return self.reference.features.to(self.device)
        return self._rows("real_features" if real else "fake_features")

    def _score(self) -> Score:
        real, fake = self._side(True), self._side(False)
        for name, side in (("real", real), ("generated", fake)):
            if side.count < 2:
                raise UserError(
                    f"A Fréchet distance needs at least 2 {name} {self.kind}, got {side.count}; "
                    f"add {name} {self.kind}."
                )
        value = float(self._distance(real, fake))
        notes = bias_notes(real, fake, self.expected, self.kind)
        return Score(value, fake.count, real.count, notes=notes)

    def _distance(self, real: Gaussian, fake: Gaussian) -> Tensor:
        """From the features themselves where they are kept and fewer than their dimensions: the
        same number without a `[d, d]` matrix, an order of magnitude sooner.
        """
        known = self.reference is None or self.reference.features is not None
        if self.keep_features and known and max(real.count, fake.count) <= real.size:
            rows = self._rows_of(True), self._rows_of(False)
            return frechet_distance_of_features(*rows, self.ddof)
        return frechet_distance(real, fake, self.ddof)


class FrameFID(FrechetVideoDistance):
    """FID of the frames of videos, pooled over all videos and times (Heusel et al. 2017).

    Args:
        features: a network of single frames, Inception's pool3 for FID.
        skip_first: leading frames of each video, real or generated, that are left out: those that
            were given to the model instead of made by it.
        ddof, reference: as for `FrechetVideoDistance`; pytorch-fid and clean-fid take ddof 1.
        expected_real, expected_fake: numbers of frames.
    """

    kind = "frames"

    def __init__(
        self,
        features: Features,
        skip_first: int = 0,
        ddof: int = 1,
        *,
        reference: Reference | None = None,
        expected_real: int | None = None,
        expected_fake: int | None = None,
    ) -> None:
        super().__init__(
            features,
            ddof,
            reference=reference,
            expected_real=expected_real,
            expected_fake=expected_fake,
        )
        self.skip_first = skip_first

    def _features_of(self, videos: Tensor) -> Tensor:
        check_videos(videos, frames=self.skip_first + 1)
        frames = videos[:, self.skip_first :].flatten(0, 1)
        return torch.cat([self.features(chunk) for chunk in frames.split(FRAMES_AT_ONCE)])


def bias_notes(
    real: Gaussian, fake: Gaussian, expected: tuple[int | None, int | None], kind: str
) -> tuple[str, ...]:
    """What a reader must know of the sample counts behind a Fréchet distance."""
    notes = []
    sides = (("real", real, expected[0]), ("generated", fake, expected[1]))
    for name, side, wanted in sides:
        if wanted is not None and side.count < wanted:
            notes.append(
                f"Biased: {side.count} {name} {kind} where the protocol asks for {wanted}; the "
                "distance comes out too large, by about a constant over N."
            )
    if real.count != fake.count:
        notes.append(
            f"Unequal N: {real.count} real and {fake.count} generated {kind}; compare only with "
            "numbers of the same counts."
        )
    least = min(real.count, fake.count)
    if least <= real.size:
        notes.append(
            f"Biased: {least} {kind} span fewer dimensions than the {real.size} features have."
        )
    return tuple(notes)


def _check_reference(reference: Reference | None, features: Features, keep: bool) -> None:
    if reference is None:
        return
    if reference.gaussian.size != features.size:
        raise UserError(
            f"The reference has {reference.gaussian.size} features and the network "
            f"{features.size}; measure the reference with this network."
        )
    if keep and reference.features is None:
        raise UserError(
            "FVD∞ needs individual features, which this reference lacks; measure it again with "
            "keep_features=True."
        )
