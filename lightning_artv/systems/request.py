"""What a system is asked to generate, and what an observer sees of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_artv.errors import UserError, check_frames
from lightning_artv.figures import Figure

DEFAULT_FPS = 8.0
"""Frames per second of a video where nobody says it."""


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
    """What `Generative.generate` is asked for.

    Attributes:
        segments: the storyboard; the total of their `frames` counts the first frame too.
        generators: one per video.
        size: (height, width) in pixels.
        first_frame: uint8 `[B, 3, H, W]`, or None to have the system make its own from the text.
        settings: the system's own.
    """

    segments: tuple[Segment, ...]
    generators: tuple[torch.Generator, ...]
    size: tuple[int, int]
    first_frame: Tensor | None
    settings: SamplingSettings

    def prompts_at(self, frame: int) -> tuple[str, ...]:
        """The prompts that hold at a frame."""
        for segment in self.segments:
            if frame < segment.frames:
                break
            frame -= segment.frames
        return segment.prompts

    def check(self, multiple: int) -> None:
        """Say what is wrong for any system whose heights and widths are divisible by `multiple`.

        Raises:
            UserError: a request that cannot be served, in one sentence.
        """
        batch, (height, width) = len(self.generators), self.size
        if not self.segments:
            raise UserError("Nothing to generate: give at least one segment (a prompt and frames).")
        for segment in self.segments:
            if len(segment.prompts) != batch:
                raise UserError(
                    f"A segment has {len(segment.prompts)} prompts but {batch} videos are being "
                    "made: give one each."
                )
        if min(height, width) < 1 or height % multiple or width % multiple:
            near = "x".join(str(max(1, round(side / multiple)) * multiple) for side in self.size)
            raise UserError(
                f"Size {height}x{width} is not divisible by {multiple}, as this system needs: "
                f"choose e.g. {near}."
            )
        first = self.first_frame
        if first is not None and first.shape != (batch, 3, height, width):
            raise UserError(
                f"The first frame has shape {tuple(first.shape)}, expected "
                f"{(batch, 3, height, width)} (B, 3, H, W)."
            )


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
