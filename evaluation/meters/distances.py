"""Distances from a real set: FVD, FVD∞, KVD and FID."""

from __future__ import annotations

import torch

from evaluation.features import (
    Features,
    VideoPreprocessing,
    load_i3d,
    load_inception,
)
from evaluation.features.i3d import I3D
from evaluation.meters.base import DistanceMeter, Weights, measured, random_network
from evaluation.metrics import FrameFID, FrechetVideoDistance, Score
from evaluation.protocols import Protocol
from evaluation.result import Measurement
from evaluation.statistics import Reference, kernel_distance
from evaluation.statistics.extrapolation import LEAST


class VideoDistances(DistanceMeter):
    """FVD, its extrapolation, and KVD, from the same features."""

    def __init__(self, protocol: Protocol, weights: Weights, device: torch.device) -> None:
        self._protocol = protocol
        super().__init__(_i3d(protocol, weights).to(device))

    def _make(self, reference: Reference | None) -> FrechetVideoDistance:
        return FrechetVideoDistance(
            self.features,
            self._protocol.ddof,
            keep_features=True,
            reference=reference,
            expected_real=self._protocol.real_count,
            expected_fake=self._protocol.fake_count,
        )

    def measurements(self) -> list[Measurement]:
        score = self._metric.result()
        self.notes += score.notes
        found = []
        if "fvd" in self._protocol.metrics:
            found.append(self._distance(score))
        if "kvd" in self._protocol.metrics:
            found.append(measured("kvd", self._kernel(), self.features))
        return found

    def _distance(self, score: Score) -> Measurement:
        if min(score.samples, score.reference_samples or 0) < LEAST:
            self.notes.append(f"FVD∞ and the sd of FVD need at least {LEAST} videos per set.")
            return measured("fvd", score, self.features)
        drawn = self._metric.infinity(self._protocol.seed)
        if not drawn.reliable:
            self.notes.append(
                "FVD∞ is a guess: it is drawn from quarters of the sets, which hold fewer videos "
                "than the features have dimensions."
            )
        more = {"FVD∞": drawn.value, "sd of FVD∞": drawn.standard_error}
        return measured("fvd", score, self.features, more, sd=drawn.finite_standard_error)

    def _kernel(self) -> Score:
        real, fake = (self._metric.collected(real=side).features for side in (True, False))
        assert real is not None and fake is not None  # `_make` keeps them
        distance = kernel_distance(real, fake)
        return Score(distance.value, len(fake), len(real), standard_error=distance.standard_error)


class FrameDistance(DistanceMeter):
    """FID over the frames that were not given."""

    def __init__(self, protocol: Protocol, weights: Weights, device: torch.device) -> None:
        self._protocol = protocol
        super().__init__(_inception(weights).to(device))

    def _make(self, reference: Reference | None) -> FrechetVideoDistance:
        p = self._protocol
        frames = p.frames - p.fid_skip
        return FrameFID(
            self.features,
            p.fid_skip,
            p.ddof,
            reference=reference,
            expected_real=None if p.real_count is None else p.real_count * frames,
            expected_fake=p.fake_count * frames,
        )

    def measurements(self) -> list[Measurement]:
        score = self._metric.result()
        self.notes += [f"FID: {note}" for note in score.notes]
        return [measured("fid", score, self.features)]


def _i3d(protocol: Protocol, weights: Weights) -> Features:
    preprocessing = VideoPreprocessing(protocol.resize, protocol.antialias)
    if weights.random_seed is None:
        return load_i3d(weights.i3d, weights.folder, preprocessing=preprocessing, eps=protocol.eps)
    network = random_network("i3d", weights.random_seed)
    assert isinstance(network, I3D)
    network.preprocessing = preprocessing
    return network


def _inception(weights: Weights) -> Features:
    if weights.random_seed is None:
        return load_inception(weights.inception, weights.folder)
    return random_network("inception", weights.random_seed)
