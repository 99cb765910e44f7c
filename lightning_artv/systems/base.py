"""What every system offers to training (`Trainable`) and to generation (`Generative`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_artv.batch import VideoBatch
from lightning_artv.data.windows import Windows
from lightning_artv.diffusion.noise import Generators
from lightning_artv.errors import UserError
from lightning_artv.systems.denoiser import Denoised, Denoiser
from lightning_artv.systems.request import (
    DEFAULT_FPS,
    DenoisingStep,
    Observer,
    Recorder,
    Request,
    SamplingSettings,
    Segment,
)

__all__ = [
    "DEFAULT_FPS",
    "Denoised",
    "Denoiser",
    "DenoisingStep",
    "Generative",
    "LossOutput",
    "Observer",
    "Origin",
    "Recorder",
    "Request",
    "SamplingSettings",
    "Segment",
    "Trainable",
    "VideoModel",
    "VideoSystem",
]


@dataclass(frozen=True)
class LossOutput:
    """The loss and what TensorBoard shows of it.

    Attributes:
        loss: scalar, float32, differentiable.
        per_sample: float32 `[B]`, detached; its mean is `loss`.
        level: float32 `[B]` in [0, 1], how much noise each sample was trained at; None where that
            has no order.
        scalars: name -> float32 `[B]`, detached: what else is shown, as `train/<name>`.
        keys: keys of the samples, B; None: the batch's, one per target.
    """

    loss: Tensor
    per_sample: Tensor
    level: Tensor | None = None
    scalars: Mapping[str, Tensor] = field(default_factory=dict)
    keys: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Origin:
    """Where a system comes from.

    Attributes:
        size: (height, width) in pixels of what it was trained on; None where nobody says it.
        fps: frames per second of that; None for every source frame.
        description: how it was built, in one line.
    """

    size: tuple[int, int] | None = None
    fps: float | None = None
    description: str = ""


class Trainable(nn.Module, ABC):
    """What training needs of a model: its loss, and which modules and parameters it has.

    Attributes:
        part: which part of a system it is, where one consists of several that are trained alone;
            `whole` where it is all.
        whole: dotted path of the class that a part's checkpoint is composed into with others; None
            where there is none.
        windows: class of the training windows that the system understands; its defaults serve
            where `data.windows` names none.
        origin: what its checkpoint says of it; empty where it was made by hand.
        renamed: how names of weights in earlier checkpoints begin -> how they begin now.
    """

    part: str = "whole"

    whole: ClassVar[str | None] = None

    windows: ClassVar[type[Windows]]

    origin: Origin = Origin()

    renamed: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        """The training loss of one batch; `generators` holds one per sample."""

    def carried(self) -> dict[str, Any]:
        """What the loss takes from one training batch to the next, besides weights: tensors, lists
        and plain values, for the checkpoint; empty where that is nothing. Never changed in place.
        """
        return {}

    def carry(self, state: Mapping[str, Any]) -> None:
        """Go on with what `carried` gave; with nothing, if that is empty."""

    def preview(self, batch: VideoBatch, generators: Generators) -> dict[str, Tensor]:
        """What TensorBoard shows of a part that makes no videos alone, by name.

        Returns:
            uint8 pictures `[N, 3, H, W]` or clips `[N, T, 3, H, W]`; nothing to show in most.
        """
        return {}

    def widen(self, name: str, stored: Tensor, parameter: Tensor) -> Tensor | None:
        """A weight to start with, from another training's that has another shape; None for none."""
        return None

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Name -> parameter, for the optimiser and the EMA."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def blocks(self) -> list[nn.Module]:
        """The modules that are compiled, recomputed and gathered one at a time, in the order of
        `forward`; empty in a system that has none.
        """
        return []

    def shard_units(self) -> list[nn.Module]:
        """The modules besides `blocks` that FSDP2 gathers one at a time, inner ones first.

        Their parameters are whole only while their own `forward` runs; with the blocks they hold
        every trainable parameter.
        """
        return [m for m in self.children() if any(p.requires_grad for p in m.parameters())]


class Generative(ABC):
    """What generation, sample logging, evaluation and export need of a model.

    Attributes:
        continues: whether `generate` takes a first frame.
        pipeline: dotted path of the diffusers pipeline that `lightning export` writes; None in a
            system that has none.
        origin: what a checkpoint or an exported folder says of itself; empty for a system that was
            made by hand.
    """

    continues: bool = False

    pipeline: ClassVar[str | None] = None

    origin: Origin = Origin()

    @property
    def note(self) -> str:
        """What a user is told of the videos it makes, in one sentence; empty for nothing."""
        return ""

    @property
    @abstractmethod
    def sampling(self) -> SamplingSettings:
        """The defaults that this system is generated with."""

    @property
    @abstractmethod
    def size_multiple(self) -> int:
        """Frame heights and widths must be divisible by this."""

    @abstractmethod
    def frames(self, request: Request, observer: Observer | None = None) -> Iterator[Tensor]:
        """Yield the frames of a checked request; see `generate`."""

    def check(self, request: Request) -> None:
        """Say what is wrong with a request, before anything is computed. A system calls this and
        adds what its own settings ask for.

        Raises:
            UserError: a request that cannot be served, in one sentence.
        """
        if request.first_frame is not None and not self.continues:
            raise UserError(f"{type(self).__name__} makes all frames itself: give no first frame.")
        request.check(self.size_multiple)

    def generate(
        self,
        segments: Sequence[Segment],
        generators: Generators,
        size: tuple[int, int],
        first_frame: Tensor | None = None,
        settings: SamplingSettings | None = None,
        observer: Observer | None = None,
    ) -> Iterator[Tensor]:
        """Yield frames, uint8 `[B, 3, H, W]`, as they are made, beginning with the first frame.

        Memory does not grow with the number of frames.

        Args:
            segments: the storyboard; the total of their `frames` counts the first frame too.
            generators: one per video.
            size: (height, width) in pixels.
            first_frame: uint8 `[B, 3, H, W]`, or None to have the system make its own from the
                text.
            settings: None for `self.sampling`.
            observer: called after each denoising step.

        Raises:
            UserError: a request that cannot be served, in one sentence.
        """
        settings = self.sampling if settings is None else settings
        request = Request(tuple(segments), tuple(generators), size, first_frame, settings)
        self.check(request)
        return self.frames(request, observer)

    def frame_rate(self, settings: SamplingSettings) -> float | None:
        """Frames per second of what is generated with these settings; None where nobody says it."""
        return self.origin.fps

    def recorder(self) -> Recorder | None:
        """A new observer for `generate`; None in a system that has nothing to show of denoising."""
        return None

    def given(self, batch: VideoBatch) -> Tensor | None:
        """First frames that `lightning predict` continues, uint8 `[B, 3, H, W]`; None in a system
        that makes its own.
        """
        return None

    def pixels(self, frames: Tensor) -> Tensor:
        """A batch's frames `[M, ...]` as uint8 `[M, 3, H, W]`; stored latents are decoded.

        Raises:
            UserError: stored latents, in a system that has no use for them.
        """
        if frames.dtype != torch.uint8:
            raise UserError(f"{type(self).__name__} reads videos only: give it shards of videos.")
        return frames

    def frame_size(self, batch: VideoBatch) -> tuple[int, int]:
        """(height, width) in pixels of a batch's frames."""
        factor = 1 if batch.frames.dtype == torch.uint8 else self.size_multiple
        return factor * batch.frames.shape[-2], factor * batch.frames.shape[-1]


class VideoModel(nn.Module, Generative):
    """A text-to-video model, trained as one or composed of parts."""

    def parts(self) -> tuple[Trainable, ...]:
        """What was trained alone: itself, or what it is composed of."""
        return (self,) if isinstance(self, Trainable) else ()


class VideoSystem(Trainable, VideoModel):
    """A trainable text-to-video model: networks, schedule and the paper's rules; no Lightning."""

    def delivered(self) -> VideoSystem:
        """What generates when training is over; another system where this one only trains it."""
        return self
