"""Eq. 7 under guidance (paper Sec. 4): every branch in one batched call."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lightning_artv.diffusion.guidance import branches, combine
from lightning_artv.systems.artv.denoiser import ARTVDenoiser, Encoded
from lightning_artv.systems.artv.networks.shallow import DeepBlocks
from lightning_artv.systems.artv.settings import ARTVSampling


class GuidedDenoiser:
    """What a sampler asks for the clean latents of one frame.

    Args:
        denoiser: both networks.
        given: all conditions, encoded.
        blank: gives what stands in for conditions that are left out, of the shape of `given`.
        weights: guidance weight of each condition.
        sampling: at which noise levels they hold, and how often deep blocks are run.
    """

    def __init__(
        self,
        denoiser: ARTVDenoiser,
        given: Encoded,
        blank: Callable[[], Encoded],
        weights: Mapping[str, float],
        sampling: ARTVSampling,
    ) -> None:
        self.denoiser, self.weights, self.sampling = denoiser, weights, sampling
        names = branches(weights)
        variants = [given if name is None else given.without(name, blank()) for name in names]
        self.given = given
        self.stacked = Encoded.joined(variants) if len(variants) > 1 else given
        self.last_mask: Tensor | None = None
        self._kept, self._steps = given, 0  # whose deep features, and for how many steps

    def __call__(self, y_t: Tensor, t: int) -> Tensor:
        is_guided = self.sampling.guides_at(t / len(self.denoiser.schedule))
        encoded = self.stacked if is_guided else self.given
        stacked = y_t.repeat(len(encoded.y_ref) // len(y_t), 1, 1, 1)
        timesteps = torch.full((len(stacked),), t, device=y_t.device)
        denoised = self.denoiser.denoise(stacked, timesteps, encoded, self._deep(encoded))
        if denoised.mask is not None:
            self.last_mask = denoised.mask[: len(y_t)]  # of "all conditions"
        return combine(denoised.clean, self.weights if is_guided else {})

    def _deep(self, encoded: Encoded) -> DeepBlocks:
        """Whether this step runs the deep blocks."""
        every = self.sampling.deep_every
        if every == 1:
            return "run"
        if encoded is not self._kept:
            self._kept, self._steps = encoded, 0
        self._steps += 1
        return "keep" if self._steps % every == 1 else "reuse"
