"""The training objective (Eq. 4), one number a sample, in float32 whatever the networks run in."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_artv.diffusion.schedule import NoiseSchedule

Weighting = Literal["epsilon", "v", "sample"]


def noise_mse(eps_hat: Tensor, eps: Tensor) -> Tensor:
    """Eq. 4: mean squared error of the predicted noise; `[B, ...]` twice -> float32 `[B]`."""
    if eps_hat.shape != eps.shape:
        raise ValueError(
            f"The predicted noise is {tuple(eps_hat.shape)} but the true one {tuple(eps.shape)}."
        )
    return (eps_hat.float() - eps.float()).square().flatten(1).mean(dim=1)


def loss_weights(schedule: NoiseSchedule, t: Tensor, weighting: Weighting) -> Tensor:
    """What each sample's noise error counts, float32 `[B]`.

    * `epsilon`: 1, the paper's Eq. 4. The error of the implied clean frame counts `snr` times,
      hence hardly at high noise, where generation decides what moves.
    * `v`: `(snr + 1) / snr`, the squared error in velocity (Salimans & Ho 2022): all noise levels
      count alike.
    * `sample`: `1 / snr`, the squared error of the implied clean frame.

    Raises:
        ValueError: another weighting.
    """
    snr = schedule.snr(t)
    if weighting == "epsilon":
        return torch.ones_like(snr)
    if weighting == "v":
        return (snr + 1) / snr
    if weighting == "sample":
        return 1 / snr
    raise ValueError(f"loss weighting must be epsilon, v or sample, got {weighting!r}.")
