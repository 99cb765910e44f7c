"""What distillation asks of a system: things to make as generation makes them, and how it does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import Generators
from lightning_artv.diffusion.samplers import Denoise, Sampler
from lightning_artv.systems.base import SamplingSettings, VideoModel, VideoSystem


@dataclass(frozen=True)
class Exercise:
    """Latents to make under given conditions; teacher and student get the same.

    Attributes:
        rows: int64 `[R]`, which targets of the batch.
        clean: what the data has there, `[R, ...]`.
        follows: whether the conditions leave little doubt about the result, as frames before it
            do, so that the data's latents are worth learning beside the teacher's.
        conditions: the system's own.
    """

    rows: Tensor
    clean: Tensor
    follows: bool
    conditions: Any


@dataclass(frozen=True)
class Practice:
    """What exercises are made of.

    Attributes:
        own: share of the training windows whose targets follow the system's own frames.
        first: share of the targets that follow nothing, as a video's first frame.
    """

    own: float = 0.0
    first: float = 0.0


class Teachable(VideoSystem):
    """A system that can be distilled.

    Attributes:
        denoiser: what a student trains.
    """

    denoiser: Any  # a `Denoiser` of the system's own conditions

    @abstractmethod
    def exercises(
        self, batch: VideoBatch, practice: Practice, generators: Generators
    ) -> list[Exercise]:
        """Those of a batch, without gradients; each target is in one. One generator per target."""

    @abstractmethod
    def solution(self, exercise: Exercise, settings: SamplingSettings) -> tuple[Sampler, Denoise]:
        """How generation under `settings` answers: its steps, and its guided prediction."""

    @abstractmethod
    def resample(self, changes: Mapping[str, Any]) -> None:
        """Change the defaults of generation, by the names of its settings."""


class Teacher(ABC):
    """Where a trained system comes from."""

    @abstractmethod
    def load(self) -> VideoModel:
        """The system, in evaluation mode."""
