"""What is measured on generated videos alone: IS, CLIPSIM, flicker, drift, motion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evaluation.features import load_c3d, load_clip
from evaluation.meters.base import REPEATED_DRAWS, Meter, Weights, measured, random_network
from evaluation.metrics import (
    CLIPSim,
    DriftCurve,
    Flicker,
    MotionMagnitude,
    VideoInceptionScore,
)
from evaluation.protocols import Protocol
from evaluation.result import LABELS, MEASURED, Measurement


class InceptionScore(Meter):
    """IS by C3D."""

    def __init__(self, protocol: Protocol, weights: Weights, device: torch.device) -> None:
        super().__init__()
        seed = weights.random_seed
        self._network = (
            load_c3d(weights.c3d, weights.c3d_mean, weights.folder)
            if seed is None
            else random_network("c3d", seed)
        )
        self._network.to(device)
        self._metric = VideoInceptionScore(
            self._network, protocol.splits, protocol.seed, protocol.division
        )

    def add_fake(self, clips: Tensor, captions: Sequence[Sequence[str]]) -> None:
        self._metric.update(clips)

    def measurements(self) -> list[Measurement]:
        sd_of = "over the splits" if self._metric.splits > 1 else REPEATED_DRAWS
        return [measured("is", self._metric.result(), self._network, sd_of=sd_of)]


class CaptionSimilarity(Meter):
    """CLIPSIM."""

    def __init__(self, protocol: Protocol, weights: Weights, device: torch.device) -> None:
        super().__init__()
        self._all = protocol.caption_rule == "all"
        self._name = weights.clip or protocol.clip_model
        self._clip = load_clip(self._name).to(device)
        self._metric = CLIPSim(self._clip)

    def add_fake(self, clips: Tensor, captions: Sequence[Sequence[str]]) -> None:
        self._metric.update(clips, [texts if self._all else texts[:1] for texts in captions])

    def measurements(self) -> list[Measurement]:
        score = self._metric.result()
        return [
            Measurement(
                "clipsim",
                LABELS["clipsim"],
                MEASURED,
                score.value,
                score.sd,
                "over the videos",
                fake=score.samples,
                features="clip",
                weights={"clip": self._clip.sha256},
            )
        ]


class Appearance(Meter):
    """Flicker, drift and motion, which need no weights."""

    def __init__(self, protocol: Protocol, weights: Weights, device: torch.device) -> None:
        super().__init__()
        self._wanted = protocol.metrics
        self._flicker, self._motion = Flicker(), MotionMagnitude()
        self._drift = DriftCurve(protocol.frames)

    def add_fake(self, clips: Tensor, captions: Sequence[Sequence[str]]) -> None:
        clips = clips.cpu() if clips.device.type == "mps" else clips  # MPS has no float64
        for name, metric in self._metrics.items():
            if name in self._wanted:
                metric.update(clips)

    @property
    def _metrics(self) -> dict[str, Flicker | DriftCurve | MotionMagnitude]:
        return {"flicker": self._flicker, "drift": self._drift, "motion": self._motion}

    def measurements(self) -> list[Measurement]:
        found = []
        for name, metric in self._metrics.items():
            if name not in self._wanted:
                continue
            if isinstance(metric, DriftCurve):
                found.append(_drift(metric))
            else:
                found.append(measured(name, metric.result(), None, sd_of="over the videos"))
        return found


def _drift(metric: DriftCurve) -> Measurement:
    """The mean of the four drifts, each of them, and their curves."""
    drift = metric.result()
    return Measurement(
        "drift",
        LABELS["drift"],
        MEASURED,
        sum(drift.drift.values()) / len(drift.drift),
        fake=drift.samples,
        more=drift.drift,
        curve=drift.curves,
    )
