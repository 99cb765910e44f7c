"""Frame-by-frame generation (paper Sec. 3.1, 4.1, Fig. 2): any length, constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from lightning_artv.diffusion.noise import randn
from lightning_artv.diffusion.samplers import Sampled
from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.systems.artv.denoiser import ARTVDenoiser, Encoded
from lightning_artv.systems.artv.figures import MaskedStep
from lightning_artv.systems.artv.guided import GuidedDenoiser
from lightning_artv.systems.artv.networks.tokens import Tokens
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
        for segment in self.request.segments:
            text = Tokens(self.text_encoder(segment.prompts))
            if history is not None and self.settings.segment_anchor:
                history = history.anchored_on_last()
            for _ in range(segment.frames):
                if history is not None:
                    latents = self._next(history, text)
                    history = history.push(latents)
                elif first_frame is not None:
                    latents = self.autoencoder.encode(first_frame.to(self.device))
                    history = History.start(latents)
                else:
                    latents = self._first(text)
                    history = History.start(latents)
                yield self.autoencoder.decode(latents)
                self.frame += 1

    def _first(self, text: Tokens) -> Tensor:
        """ART•V's own first frame: text-to-image with references and anchor left blank (Sec.
        4.1).
        """
        blank = torch.zeros(len(self.generators), *self.latent_shape, device=self.device)
        everything = torch.ones(len(blank), dtype=torch.bool, device=self.device)
        conditions = self._conditions(History.start(blank))
        conditions = without_references(without_anchor(conditions, everything), everything)
        return self._sample(conditions, text, first=True)

    def _next(self, history: History, text: Tokens) -> Tensor:
        return self._sample(self._conditions(history), text)

    @cached_property
    def blank(self) -> Encoded:
        """What stands in for conditions that guidance leaves out, in every frame of the video."""
        videos = len(self.generators)
        nothing = torch.zeros(videos, *self.latent_shape, device=self.device)
        conditions = FrameConditions.blank(nothing, self._level())
        return self.denoiser.encode((conditions, self.text_encoder([""] * videos)))

    def _level(self) -> Tensor:
        return torch.full((len(self.generators),), self.settings.noise_level, device=self.device)

    def _conditions(self, history: History) -> FrameConditions:
        references, anchor = history.references(), history.anchor
        return self.denoiser.condition(references, anchor, self._level(), self.generators)

    def _sample(
        self,
        conditions: FrameConditions,
        text: Tokens,
        first: bool = False,
    ) -> Tensor:
        given, settings = self.denoiser.encode((conditions, text)), self.settings
        weights = settings.weights(first, self.denoiser.masking.use_anchor)
        guided = GuidedDenoiser(self.denoiser, given, lambda: self.blank, weights, settings)

        def observe(step: Sampled) -> None:
            if self.observer is not None:
                self.observer(
                    MaskedStep(self.frame, step.index, step.timestep, step.clean, guided.last_mask)
                )

        noise = randn(self.generators, self.latent_shape, self.device)
        solver = settings.solver(first)
        return solver.sample(guided, noise, self.denoiser.schedule, on_step=observe)
