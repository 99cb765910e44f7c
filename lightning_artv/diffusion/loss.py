"""The training objective (Eq. 4), one number a sample, in float32 whatever the networks run in."""

from __future__ import annotations

from torch import Tensor

from lightning_artv.diffusion.schedule import NoiseSchedule


def noise_mse(eps_hat: Tensor, eps: Tensor) -> Tensor:
    """Eq. 4: mean squared error of the predicted noise; `[B, ...]` twice -> float32 `[B]`."""
    if eps_hat.shape != eps.shape:
        raise ValueError(
            f"The predicted noise is {tuple(eps_hat.shape)} but the true one {tuple(eps.shape)}."
        )
    return (eps_hat.float() - eps.float()).square().flatten(1).mean(dim=1)


def min_snr_weights(schedule: NoiseSchedule, t: Tensor, gamma: float = 5.0) -> Tensor:
    """Min-SNR-gamma for noise prediction (Hang et al. 2023): `min(snr, gamma)/snr`, float32 `[B]`.

    Not in the ART•V paper, so nothing uses it unless a configuration asks. It takes weight from
    nearly clean timesteps, which the noise loss favours; the weights lie in (0, 1].
    """
    snr = schedule.snr(t)
    return snr.clamp(max=gamma) / snr
