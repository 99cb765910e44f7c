"""What every system (ART•V; later VidRD and VideoGen) offers to training and to generation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_artv.batch import VideoBatch
from lightning_artv.data.windows import Windows
from lightning_artv.diffusion.noise import Generators
from lightning_artv.diffusion.schedule import NoiseSchedule
from lightning_artv.errors import UserError, check_frames
from lightning_artv.figures import Figure


@dataclass(frozen=True)
class LossOutput:
    """The loss and what TensorBoard shows of it.

    Attributes:
        loss: scalar, float32, differentiable.
        per_sample: float32 `[B]`, detached; its mean is `loss`.
        level: float32 `[B]` in [0, 1], how much noise each sample was trained at; None where that
            has no order.
        scalars: name -> float32 `[B]`, detached: what else is shown, as `train/<name>`.
        keys: of the samples, B; None: the batch's, one a target.
    """

    loss: Tensor
    per_sample: Tensor
    level: Tensor | None = None
    scalars: Mapping[str, Tensor] = field(default_factory=dict)
    keys: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Segment:
    """`frames` frames generated under one prompt for each video of the batch (a storyboard's
    row).
    """

    prompts: tuple[str, ...]
    frames: int

    def __post_init__(self) -> None:
        check_frames(self.frames)
        if not self.prompts:
            raise UserError("A segment needs at least one prompt.")


@dataclass(frozen=True)
class SamplingSettings:
    """How a system samples: a frozen dataclass of its own, whose fields `--set` may name.

    Every system has `steps`; what else there is, is its own.

    Attributes:
        steps: denoising steps per frame, or per clip.
    """

    steps: int = 50


@dataclass(frozen=True)
class Request:
    """What `VideoSystem.generate` is asked for; its arguments."""

    segments: tuple[Segment, ...]
    generators: tuple[torch.Generator, ...]
    size: tuple[int, int]
    first_frame: Tensor | None
    settings: SamplingSettings


@dataclass(frozen=True)
class DenoisingStep:
    """What an observer of generation sees after each denoising step; a system may add to it.

    Attributes:
        frame: index of the frame in the video (the first frame is 0).
        step: 0 .. steps-1, in the order of denoising.
        timestep: the schedule's t.
        clean: predicted clean latents `[B, C, h, w]`.
    """

    frame: int
    step: int
    timestep: int
    clean: Tensor


Observer = Callable[[DenoisingStep], None]


@dataclass(frozen=True)
class Denoised:
    """What a denoiser answers; a system may add to it.

    Attributes:
        clean: predicted clean latents `[B, ...]`.
    """

    clean: Tensor


class Recorder(ABC):
    """An observer of generation that keeps what its system has to show of denoising."""

    @abstractmethod
    def __call__(self, step: DenoisingStep) -> None:
        """Keep what is to be shown of a step."""

    @abstractmethod
    def figures(self) -> dict[str, Figure]:
        """Figures of all steps so far, by TensorBoard's tags; empty where there are none."""

    def numbers(self) -> dict[str, Any]:
        """The same as plain data, for a result file."""
        return {}

    def arrays(self, size: int) -> dict[str, NDArray[np.uint8]]:
        """Pictures of `size` pixels, for a file of samples."""
        return {}


Conditions = TypeVar("Conditions")
EncodedConditions = TypeVar("EncodedConditions")


class Denoiser(nn.Module, ABC, Generic[Conditions, EncodedConditions]):
    """Networks and what turns their outputs into one prediction, in latents and tokens.

    What samplers, guidance, distillation and pipelines need of a system.

    Attributes:
        schedule: noise schedule that the networks are trained with.
    """

    schedule: NoiseSchedule

    @abstractmethod
    def encode(self, conditions: Conditions) -> EncodedConditions:
        """What no denoising step changes; computed once per frame or clip."""

    @abstractmethod
    def denoise(self, y_t: Tensor, t: Tensor, encoded: EncodedConditions) -> Denoised:
        """The clean latents behind `y_t` `[B, ...]` at steps `t` `[B]`."""

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """See `VideoSystem.blocks`."""


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


class VideoSystem(nn.Module, ABC):
    """A trainable text-to-video model: networks, schedule and the paper's rules; no Lightning in
    it.

    Attributes:
        windows: class of the training windows that the system understands; its defaults serve
            where `data.windows` names none.
        continues: whether `generate` takes a first frame.
        pipeline: dotted path of the diffusers pipeline that `lightning export` writes; None in a
            system that has none.
        renamed: how names of weights in earlier checkpoints begin -> how they begin now.
        origin: what a checkpoint or an exported folder says of itself; empty for a system that was
            made by hand.
    """

    windows: ClassVar[type[Windows]]

    continues: bool = False

    pipeline: ClassVar[str | None] = None

    renamed: ClassVar[Mapping[str, str]] = {}

    origin: Origin = Origin()

    @property
    @abstractmethod
    def sampling(self) -> SamplingSettings:
        """The defaults that this system is generated with."""

    @property
    @abstractmethod
    def size_multiple(self) -> int:
        """Frame heights and widths must be divisible by this."""

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

    def check(self, request: Request) -> None:
        """Say what is wrong with a request, before anything is computed.

        Raises:
            UserError: a request that cannot be served, in one sentence.
        """
        batch, (height, width), multiple = len(request.generators), request.size, self.size_multiple
        if not request.segments:
            raise UserError("Nothing to generate: give at least one segment (a prompt and frames).")
        for segment in request.segments:
            if len(segment.prompts) != batch:
                raise UserError(
                    f"A segment has {len(segment.prompts)} prompts but {batch} videos are being "
                    "made: give one each."
                )
        if min(height, width) < 1 or height % multiple or width % multiple:
            near = "x".join(str(max(1, round(side / multiple)) * multiple) for side in request.size)
            raise UserError(
                f"Size {height}x{width} is not divisible by {multiple}, as this system needs: "
                f"choose e.g. {near}."
            )
        first = request.first_frame
        if first is not None and not self.continues:
            raise UserError(f"{type(self).__name__} makes all frames itself: give no first frame.")
        if first is not None and first.shape != (batch, 3, height, width):
            raise UserError(
                f"The first frame has shape {tuple(first.shape)}, expected "
                f"{(batch, 3, height, width)} (B, 3, H, W)."
            )

    @abstractmethod
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
        """

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
