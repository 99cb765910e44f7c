"""Generation: picture, stages, passes of temporal super-resolution, decoder (paper Fig. 2).

A clip is made whole; the next one's reference is its last frame (ours). Memory does not grow with
the number of clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_artv.diffusion.augment import augment
from lightning_artv.diffusion.noise import randn
from lightning_artv.diffusion.samplers import Sampled
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.systems.base import DenoisingStep, Observer, Request
from lightning_artv.systems.videogen.cascade import resized
from lightning_artv.systems.videogen.clip import make_clip
from lightning_artv.systems.videogen.denoiser import StageConditions
from lightning_artv.systems.videogen.interpolation import frames_after
from lightning_artv.systems.videogen.parts import Doubles
from lightning_artv.systems.videogen.settings import VideoGenSampling
from lightning_artv.systems.videogen.stage import Cascade, Stage

PASSES = 3
"""Of temporal super-resolution, where there is one: 16 -> 31 -> 61 -> 121 frames."""


@dataclass(frozen=True)
class Parts:
    """What generates.

    Attributes:
        stages: the base and those above it, in order.
        decoder: its `decode_clip` makes frames of latents.
        tsr: temporal super-resolution, or None.
        has_decoder: whether `decoder` is a video decoder.
    """

    stages: tuple[Stage, ...]
    decoder: Autoencoder
    tsr: Doubles | None = None
    has_decoder: bool = False


def went_without(parts: Parts) -> str:
    """In one sentence what of VideoGen is not there; empty where nothing is missing."""
    missing = ["the cascade"] * (len(parts.stages) == 1)
    missing += ["temporal super-resolution"] * (parts.tsr is None)
    missing += ["the video decoder"] * (not parts.has_decoder)
    return f"Made without {', '.join(missing)}: give their checkpoints too." if missing else ""


def passes_of(parts: Parts, settings: VideoGenSampling) -> int:
    """Passes of temporal super-resolution."""
    if settings.passes is not None:
        return settings.passes
    return 0 if parts.tsr is None else PASSES


def check(parts: Parts, request: Request) -> None:
    """Say what is wrong for these parts.

    Raises:
        UserError: a request that cannot be served, in one sentence.
    """
    settings = request.settings
    if not isinstance(settings, VideoGenSampling):
        raise UserError(
            f"{type(settings).__name__} are no settings of VideoGen: give VideoGenSampling."
        )
    if request.first_frame is None and not settings.without_reference:
        raise UserError(
            "VideoGen starts from a picture: give one (--image) or a text-to-image model "
            "(--reference-model), or set without_reference=true for a system trained without."
        )
    there, stages = len(parts.stages), settings.stages or len(parts.stages)
    if stages > there:
        raise UserError(f"stages is {stages}, but there are {there}: give more checkpoints.")
    if settings.passes and parts.tsr is None:
        raise UserError("passes need temporal super-resolution: give its checkpoint too.")
    multiple = parts.stages[0].autoencoder.factor * 2 ** (stages - 1)
    if any(side % multiple for side in request.size):
        raise UserError(
            f"Size {request.size[0]}x{request.size[1]} does not fit {stages} stages: choose sides "
            f"divisible by {multiple}."
        )
    for stage, steps in zip(parts.stages, (settings.steps, settings.upper.steps), strict=False):
        if steps > len(stage.denoiser.schedule):
            raise UserError(f"{steps} steps: choose 1 to {len(stage.denoiser.schedule)}.")
    _check_length(parts, request, settings)


def _check_length(parts: Parts, request: Request, settings: VideoGenSampling) -> None:
    most = frames_after(parts.stages[0].denoiser.clip_frames, passes_of(parts, settings))
    total = sum(segment.frames for segment in request.segments)
    if total > most and settings.continuation == "none":
        raise UserError(
            f"{total} frames are more than the {most} of a clip: lower --frames or set "
            "continuation=last_frame."
        )
    if total > most == 1:
        raise UserError("Clips of 1 frame cannot be continued: ask for 1 frame.")


def rollout(parts: Parts, request: Request, observer: Observer | None) -> Iterator[Tensor]:
    """Yield frames as they are made; see `Generative.generate`. The request is checked before."""
    return _Rollout(parts, request, observer).frames()


class _Rollout:
    """One batch of videos being generated."""

    def __init__(self, parts: Parts, request: Request, observer: Observer | None) -> None:
        settings = request.settings
        assert isinstance(settings, VideoGenSampling)  # `check` has seen to it
        self.request, self.settings, self.observer = request, settings, observer
        self.parts = replace(parts, stages=parts.stages[: settings.stages])
        self.device = next(parts.stages[0].denoiser.parameters()).device
        self.autoencoder = parts.stages[0].autoencoder

    @torch.no_grad()
    def frames(self) -> Iterator[Tensor]:
        """Yield every frame of the storyboard, uint8 `[B, 3, H, W]`."""
        total = sum(segment.frames for segment in self.request.segments)
        first = self.request.first_frame
        picture = None if first is None else first.to(self.device)
        made = 0
        while made < total:
            old = 1 if made else 0
            clip = self._clip(picture, made - old)[:, : total - made + old]
            yield from clip[:, old:].unbind(1)
            made += clip.shape[1] - old
            picture = clip[:, -1]

    def _clip(self, picture: Tensor | None, start: int) -> Tensor:
        """Frames `[B, F, 3, H, W]` of a clip that begins at frame `start` with the picture."""
        videos = len(self.request.generators)
        tokens = self._tokens(self.request.prompts_at(start + bool(start)))
        latents: Tensor | None = None
        for index, stage in enumerate(self.parts.stages):
            reference = self._reference(picture, index)
            text, null_text = tokens[stage.text_encoder]
            lower, level = self._lower(stage, latents)
            fps = torch.full((videos,), self.settings.fps, device=self.device)
            conditions = StageConditions(text, fps, reference, lower, level)
            observe = self._observe(start)
            latents = make_clip(
                stage.denoiser,
                conditions,
                null_text,
                self.settings,
                self.request.generators,
                observe,
            )
            if self.settings.keep_reference and picture is not None:
                latents[:, 0] = reference
        assert latents is not None
        if self.parts.tsr is not None:
            for _ in range(passes_of(self.parts, self.settings)):
                latents = self.parts.tsr.slow_down(latents, self.request.generators)
        clip = self.parts.decoder.decode_clip(latents)
        if self.settings.keep_reference and picture is not None:
            clip[:, 0] = picture
        return clip

    def _tokens(self, prompts: tuple[str, ...]) -> dict[TextEncoder, tuple[Tensor, Tensor]]:
        """Tokens of the prompts and of no text, by each text encoder that there is."""
        encoders = {stage.text_encoder for stage in self.parts.stages}
        return {e: (e(list(prompts)), e([""] * len(prompts))) for e in encoders}

    def _reference(self, picture: Tensor | None, stage: int) -> Tensor:
        """The picture's latents `[B, C, h, w]` at a stage's size; zeros for none."""
        scale = 2 ** (len(self.parts.stages) - 1 - stage)
        size = (self.request.size[0] // scale, self.request.size[1] // scale)
        if picture is not None:
            return self.autoencoder.encode(resized(picture, size))
        factor, channels = self.autoencoder.factor, self.autoencoder.channels
        shape = (len(self.request.generators), channels, size[0] // factor, size[1] // factor)
        return torch.zeros(shape, device=self.device)

    def _lower(self, stage: Stage, latents: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """U of the clip's latents so far, and the level of its noise."""
        if latents is None:
            return None, None
        assert isinstance(stage, Cascade)  # only the base is asked first
        lower = stage.doubled(latents)
        level = torch.full((len(lower),), self.settings.upper.noise, device=self.device)
        noise = randn(self.request.generators, lower.shape[1:], self.device)
        return augment(stage.denoiser.schedule, lower, noise, level), level

    def _observe(self, start: int) -> Callable[[Sampled], None] | None:
        observer = self.observer
        if observer is None:
            return None
        return lambda step: observer(DenoisingStep(start, step.index, step.timestep, step.clean))
