"""Frame-by-frame generation (paper Sec. 3.1, 4.1, Fig. 2): any length, constant memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from lightning_artv.diffusion.guidance import branches, combine
from lightning_artv.diffusion.noise import randn
from lightning_artv.diffusion.samplers import Sampled
from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.systems.artv.denoiser import ARTVDenoiser
from lightning_artv.systems.artv.figures import MaskedStep
from lightning_artv.systems.artv.references import (
    FrameConditions,
    History,
    without_anchor,
    without_references,
)
from lightning_artv.systems.artv.settings import ARTVSampling
from lightning_artv.systems.base import Observer, Request


def rollout(
    denoiser: ARTVDenoiser,
    autoencoder: Autoencoder,
    text_encoder: TextEncoder,
    request: Request,
    observer: Observer | None,
) -> Iterator[Tensor]:
    """Yield frames as they are made; see `VideoSystem.generate`. The request is checked before."""
    return _Rollout(denoiser, autoencoder, text_encoder, request, observer).frames()


class _Rollout:
    """One batch of videos being generated."""

    def __init__(
        self,
        denoiser: ARTVDenoiser,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        request: Request,
        observer: Observer | None,
    ) -> None:
        self.denoiser, self.autoencoder, self.text_encoder = denoiser, autoencoder, text_encoder
        assert isinstance(request.settings, ARTVSampling)  # `ARTV.check` has seen to it
        self.request, self.settings, self.observer = request, request.settings, observer
        self.generators = request.generators
        self.device = next(denoiser.parameters()).device
        height, width = request.size
        factor = autoencoder.factor
        self.latent_shape = (autoencoder.channels, height // factor, width // factor)
        self.frame = 0

    @torch.no_grad()
    def frames(self) -> Iterator[Tensor]:
        """Yield every frame of the storyboard, uint8 `[B, 3, H, W]`."""
        history: History | None = None
        first_frame = self.request.first_frame
        null_text = self.text_encoder([""] * len(self.generators))
        for segment in self.request.segments:
            text = self.text_encoder(segment.prompts)
            if history is not None and self.settings.segment_anchor:
                history = history.anchored_on_last()
            for _ in range(segment.frames):
                if history is not None:
                    latents = self._next(history, text, null_text)
                    history = history.push(latents)
                elif first_frame is not None:
                    latents = self.autoencoder.encode(first_frame.to(self.device))
                    history = History.start(latents)
                else:
                    latents = self._first(text, null_text)
                    history = History.start(latents)
                yield self.autoencoder.decode(latents)
                self.frame += 1

    def _first(self, text: Tensor, null_text: Tensor) -> Tensor:
        """ART•V's own first frame: text-to-image with references and anchor left blank (Sec.
        4.1).
        """
        blank = torch.zeros(len(self.generators), *self.latent_shape, device=self.device)
        everything = torch.ones(len(blank), dtype=torch.bool, device=self.device)
        conditions = self._conditions(History.start(blank))
        conditions = without_references(without_anchor(conditions, everything), everything)
        return self._sample(conditions, text, null_text, self.settings.first_weights(), first=True)

    def _next(self, history: History, text: Tensor, null_text: Tensor) -> Tensor:
        guidance = dataclasses.asdict(self.settings.guidance)
        if not self.denoiser.masking.use_anchor:
            guidance["anchor"] = 0.0
        return self._sample(self._conditions(history), text, null_text, guidance)

    def _conditions(self, history: History) -> FrameConditions:
        level = torch.full((len(self.generators),), self.settings.noise_level, device=self.device)
        return self.denoiser.condition(history.references(), history.anchor, level, self.generators)

    def _sample(
        self,
        conditions: FrameConditions,
        text: Tensor,
        null_text: Tensor,
        weights: Mapping[str, float],
        first: bool = False,
    ) -> Tensor:
        guided = _GuidedDenoiser(self.denoiser, conditions, text, null_text, weights)

        def observe(step: Sampled) -> None:
            if self.observer is not None:
                self.observer(
                    MaskedStep(self.frame, step.index, step.timestep, step.clean, guided.last_mask)
                )

        noise = randn(self.generators, self.latent_shape, self.device)
        solver = self.settings.solver(first)
        return solver.sample(guided, noise, self.denoiser.schedule, on_step=observe)


class _GuidedDenoiser:
    """Eq. 7 under guidance: every branch in one batched call; adapters and anchor encoders run
    once, here.
    """

    def __init__(
        self,
        denoiser: ARTVDenoiser,
        conditions: FrameConditions,
        text: Tensor,
        null_text: Tensor,
        weights: Mapping[str, float],
    ) -> None:
        self.denoiser, self.weights = denoiser, weights
        self.names = branches(weights)
        variants = [_leave_out(conditions, name) for name in self.names]
        texts = [null_text if name == "text" else text for name in self.names]
        self.encoded = denoiser.encode((_stack(variants), torch.cat(texts)))
        self.last_mask: Tensor | None = None

    def __call__(self, y_t: Tensor, t: int) -> Tensor:
        stacked = y_t.repeat(len(self.names), 1, 1, 1)
        timesteps = torch.full((len(stacked),), t, device=y_t.device)
        denoised = self.denoiser.denoise(stacked, timesteps, self.encoded)
        if denoised.mask is not None:
            self.last_mask = denoised.mask[: len(y_t)]  # of "all conditions"
        return combine(denoised.clean, self.weights)


def _leave_out(conditions: FrameConditions, name: str | None) -> FrameConditions:
    everything = torch.ones_like(conditions.has_reference)
    if name == "references":
        return without_references(conditions, everything)
    if name == "anchor":
        return without_anchor(conditions, everything)
    return conditions


def _stack(variants: Sequence[FrameConditions]) -> FrameConditions:
    fields = [field.name for field in dataclasses.fields(FrameConditions)]
    return FrameConditions(**{f: torch.cat([getattr(v, f) for v in variants]) for f in fields})
