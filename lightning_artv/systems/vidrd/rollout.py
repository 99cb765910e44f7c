"""Generation clip by clip (paper Sec. 4.3, Alg. 1): any length, constant memory.

Kept of a clip for the next one are its first noise, its latents and, for the steps that guide, its
last frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_artv.diffusion.guidance import branches
from lightning_artv.diffusion.noise import Generators, randn
from lightning_artv.diffusion.samplers import Denoise, Sampled
from lightning_artv.diffusion.schedule import NoiseSchedule
from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.systems.base import DenoisingStep, Observer, Request
from lightning_artv.systems.clips import guided as guided_clips
from lightning_artv.systems.vidrd.denoiser import ClipConditions, VidRDDenoiser
from lightning_artv.systems.vidrd.noise import past_dependent_noise
from lightning_artv.systems.vidrd.settings import VidRDSampling
from lightning_artv.systems.vidrd.staging import StagedGuidance


@dataclass(frozen=True)
class Parts:
    """What generates.

    Attributes:
        denoiser: predicts clean latents.
        autoencoder: pixels to latents and back.
        text_encoder: prompts to tokens.
        is_given: whether the denoiser was trained to be given clean frames.
    """

    denoiser: VidRDDenoiser
    autoencoder: Autoencoder
    text_encoder: TextEncoder
    is_given: bool


def rollout(parts: Parts, request: Request, observer: Observer | None) -> Iterator[Tensor]:
    """Yield frames as they are made; see `VideoSystem.generate`. The request is checked before."""
    return _Rollout(parts, request, observer).frames()


class _Rollout:
    """One batch of videos being generated."""

    def __init__(self, parts: Parts, request: Request, observer: Observer | None) -> None:
        settings = request.settings
        assert isinstance(settings, VidRDSampling)  # `VidRD.check` has seen to it
        self.parts, self.request, self.settings = parts, request, settings
        self.observer = observer
        self.device = next(parts.denoiser.parameters()).device
        self.clip_frames = settings.clip_frames or parts.denoiser.clip_frames
        factor = parts.autoencoder.factor
        self.latent_shape = (
            parts.autoencoder.channels,
            request.size[0] // factor,
            request.size[1] // factor,
        )
        self.overlaps = settings.join == "overlap"
        share = settings.guided_share if settings.guides else 0.0
        self.guidance = StagedGuidance(settings.steps, settings.prompt_frames, share)
        self.noise: Tensor | None = None  # of the clip before, the first of its denoising
        self.shown: Tensor | None = None  # its latents, for a decoder that looks back

    @torch.no_grad()
    def frames(self) -> Iterator[Tensor]:
        """Yield every frame of the storyboard, uint8 `[B, 3, H, W]`."""
        total = sum(segment.frames for segment in self.request.segments)
        null_text = self.parts.text_encoder([""] * len(self.request.generators))
        held = self._first_frame()
        made = 0
        while made < total:
            text = self.parts.text_encoder(self.request.prompts_at(made))
            latents = self._clip(held, text, null_text, made)
            old = held.shape[1] if made and held is not None else 0
            new = latents[:, old:]  # whole: a decoder may look ahead of the last frame wanted
            pictures = self.parts.autoencoder.decode_clip(new, self.shown)
            yield from pictures[:, : total - made].unbind(1)
            self.shown = new
            made += new.shape[1]
            held = latents[:, -self.settings.prompt_frames :] if self.overlaps else None

    def _first_frame(self) -> Tensor | None:
        """Latents of the frame that the video begins with `[B, 1, C, h, w]`, if it is given."""
        first = self.request.first_frame
        if first is None:
            return None
        return self.parts.autoencoder.encode(first.to(self.device))[:, None]

    def _clip(self, held: Tensor | None, text: Tensor, null_text: Tensor, made: int) -> Tensor:
        """Clean latents `[B, N, C, h, w]` of a clip whose first frames may be held."""
        settings, schedule = self.settings, self.parts.denoiser.schedule
        is_given = self.parts.is_given
        conditions = ClipConditions(text)
        if held is not None and is_given:
            conditions = _given(conditions, held, self.clip_frames)
        denoise = guided(self.parts.denoiser, conditions, null_text, settings.guidance.text)
        if held is not None and not is_given:
            denoise = _holding(denoise, held, schedule, self.request.generators)
        old = 0 if held is None or not made else held.shape[1]

        def observe(step: Sampled) -> None:
            if self.observer is not None:
                self.observer(DenoisingStep(made - old, step.index, step.timestep, step.clean))

        solver = settings.solver(holds_noised=self.overlaps and not is_given)
        self.noise = self._noise()
        revise = self.guidance.revise if settings.guides else None
        latents = solver.sample(
            denoise, self.noise, schedule, self.request.generators, observe, revise
        )
        self.guidance.next_clip()
        return latents if held is None else torch.cat([held, latents[:, held.shape[1] :]], dim=1)

    def _noise(self) -> Tensor:
        """The first noise of a clip: Eq. 5, or Eq. 7 after another clip."""
        shape = (self.clip_frames, *self.latent_shape)
        fresh = randn(self.request.generators, shape, self.device)
        if self.noise is None or self.overlaps:
            return fresh
        settings = self.settings
        return past_dependent_noise(self.noise, fresh, settings.prompt_frames, settings.noise_reuse)


def _given(conditions: ClipConditions, held: Tensor, clip_frames: int) -> ClipConditions:
    """The conditions of a clip whose first frames are given clean."""
    batch, frames = held.shape[:2]
    clean = held.new_zeros(batch, clip_frames, *held.shape[2:])
    clean[:, :frames] = held
    given = torch.arange(clip_frames, device=held.device).expand(batch, -1) < frames
    return replace(conditions, given=given, clean=clean)


def guided(
    denoiser: VidRDDenoiser, conditions: ClipConditions, null_text: Tensor, weight: float
) -> Denoise:
    """The denoiser under guidance by the text."""
    weights = {"text": weight}
    names = branches(weights)
    texts = [null_text if name == "text" else conditions.text for name in names]
    given, clean = conditions.given, conditions.clean
    stacked = ClipConditions(
        torch.cat(texts),
        None if given is None else torch.cat([given] * len(names)),
        None if clean is None else torch.cat([clean] * len(names)),
    )
    return guided_clips(denoiser, stacked, weights)


def _holding(
    denoise: Denoise, held: Tensor, schedule: NoiseSchedule, generators: Generators
) -> Denoise:
    """`denoise` of clips whose first frames are `held`, noised afresh at each step."""
    frames = held.shape[1]

    def holding(y_t: Tensor, t: int) -> Tensor:
        fresh = randn(generators, held.shape[1:], held.device)
        step = torch.full((len(held),), t, device=held.device)
        noised = schedule.add_noise(held, fresh, step)
        clean = denoise(torch.cat([noised, y_t[:, frames:]], dim=1), t)
        return torch.cat([held, clean[:, frames:]], dim=1)

    return holding
