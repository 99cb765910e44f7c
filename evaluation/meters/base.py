"""A meter takes all clips once and has measurements at the end: metrics that share a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from evaluation.features import Features, random_features
from evaluation.features.loading import Kind
from evaluation.metrics import FrechetVideoDistance, Score
from evaluation.result import LABELS, MEASURED, Measurement
from evaluation.statistics import Reference

REPEATED_DRAWS = "over repeated draws of the videos"


@dataclass(frozen=True)
class Weights:
    """Where the networks' weights are.

    Attributes:
        folder: folder of downloaded files; None for the default one.
        i3d, c3d, c3d_mean, inception: explicit files.
        clip: folder or hub id in place of the protocol's.
        random_seed: random networks instead of I3D, C3D and Inception; renames the metrics.
    """

    folder: Path | None = None
    i3d: Path | None = None
    c3d: Path | None = None
    c3d_mean: Path | None = None
    inception: Path | None = None
    clip: str | None = None
    random_seed: int | None = None


class Meter(ABC):
    """Takes generated clips.

    Attributes:
        notes: what a reader of its numbers must know; complete after `measurements`.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []

    @abstractmethod
    def add_fake(self, clips: Tensor, captions: Sequence[Sequence[str]]) -> None:
        """Take generated clips, uint8 `[B, T, 3, H, W]`, with their captions."""

    @abstractmethod
    def measurements(self) -> list[Measurement]:
        """The numbers."""


class DistanceMeter(Meter):
    """Compares with a real set, whose statistics can be kept.

    Args:
        features: the network.
    """

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features = features
        self._metric = self._make(None)

    @abstractmethod
    def _make(self, reference: Reference | None) -> FrechetVideoDistance:
        """The metric, with its real side if that is known."""

    def use(self, reference: Reference) -> None:
        """Take the real side from statistics; before any clip is added."""
        self._metric = self._make(reference)

    def reference(self, about: Mapping[str, str]) -> Reference:
        """The real side's statistics, to be kept."""
        return self._metric.collected(real=True, about=about)

    def add_real(self, clips: Tensor) -> None:
        """Take real clips, uint8 `[B, T, 3, H, W]`."""
        self._metric.update(clips, real=True)

    def add_fake(self, clips: Tensor, captions: Sequence[Sequence[str]]) -> None:
        self._metric.update(clips, real=False)


def random_network(kind: Kind, seed: int) -> Features:
    """A network with random weights, of which results tell the seed."""
    network = random_features(kind, seed)
    network.digests["random seed"] = str(seed)
    return network


def label(metric: str, features: Features | None) -> str:
    """What a table calls a metric: random weights rename it."""
    name = "" if features is None else features.name
    return f"random-{LABELS[metric]}" if name.startswith("random-") else LABELS[metric]


def measured(
    metric: str,
    score: Score,
    features: Features | None,
    more: Mapping[str, float] | None = None,
    sd: float | None = None,
    sd_of: str = REPEATED_DRAWS,
) -> Measurement:
    """A measurement from a metric's score; `sd` in place of the score's own."""
    own = score.sd if sd_of != REPEATED_DRAWS else score.standard_error
    spread = own if sd is None else sd
    return Measurement(
        metric,
        label(metric, features),
        MEASURED,
        score.value,
        spread,
        "" if spread is None else sd_of,
        real=score.reference_samples or 0,
        fake=score.samples,
        features="" if features is None else features.name,
        weights={} if features is None else dict(features.digests),
        more=more or {},
    )
