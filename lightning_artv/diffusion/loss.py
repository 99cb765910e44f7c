"""The training objective (Eq. 4): one number per sample, float32 whatever the networks run in."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_artv.diffusion.schedule import NoiseSchedule

Weighting = Literal["epsilon", "v", "sample"]


def clean_error(clean: Tensor, y0: Tensor, huber: float = 0.0) -> Tensor:
    """Mean error of the predicted clean latents; `[B, ...]` twice -> float32 `[B]`.

    Args:
        huber: 0 counts an error e as e^2; above, as `sqrt(e^2 + huber^2) - huber` (pseudo-Huber).
    """
    if clean.shape != y0.shape:
        raise ValueError(
            f"The predicted latents are {tuple(clean.shape)} but the true ones {tuple(y0.shape)}."
        )
    error = (clean.float() - y0.float()).square()
    if huber:
        error = (error + huber**2).sqrt() - huber
    return error.flatten(1).mean(dim=1)


def loss_weights(schedule: NoiseSchedule, t: Tensor, weighting: Weighting) -> Tensor:
    """What the squared error of each sample's clean latents counts, float32 `[B]`.

    * `epsilon`: `snr`, which is the squared error of the noise, the paper's Eq. 4. At high noise,
      where generation decides what moves, the clean latents hardly count.
    * `v`: `snr + 1`, the squared error in velocity (Salimans & Ho 2022): all noise levels count
      alike.
    * `sample`: 1.

    Raises:
        ValueError: another weighting.
    """
    snr = schedule.snr(t)
    if weighting == "epsilon":
        return snr
    if weighting == "v":
        return snr + 1
    if weighting == "sample":
        return torch.ones_like(snr)
    raise ValueError(f"loss weighting must be epsilon, v or sample, got {weighting!r}.")
