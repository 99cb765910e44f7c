"""Eq. 7 under guidance (paper Sec. 4): every branch in one batched call."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lightning_artv.diffusion.guidance import branches, combine
from lightning_artv.systems.artv.denoiser import ARTVDenoiser, Encoded


class GuidedDenoiser:
    """What a sampler asks for the clean latents of one frame.

    Args:
        denoiser: both networks.
        given: all conditions, encoded.
        blank: gives what stands in for conditions that are left out, of the shape of `given`.
        weights: guidance weight of each condition.
    """

    def __init__(
        self,
        denoiser: ARTVDenoiser,
        given: Encoded,
        blank: Callable[[], Encoded],
        weights: Mapping[str, float],
    ) -> None:
        self.denoiser, self.weights = denoiser, weights
        names = branches(weights)
        variants = [given if name is None else given.without(name, blank()) for name in names]
        self.branches = len(variants)
        self.encoded = Encoded.joined(variants) if len(variants) > 1 else given
        self.last_mask: Tensor | None = None

    def __call__(self, y_t: Tensor, t: int) -> Tensor:
        stacked = y_t.repeat(self.branches, 1, 1, 1)
        timesteps = torch.full((len(stacked),), t, device=y_t.device)
        denoised = self.denoiser.denoise(stacked, timesteps, self.encoded)
        if denoised.mask is not None:
            self.last_mask = denoised.mask[: len(y_t)]  # of "all conditions"
        return combine(denoised.clean, self.weights)
