"""Noise on what a denoiser is shown (Ho et al. 2022, cascaded diffusion); pure."""

from __future__ import annotations

from torch import Tensor

from lightning_artv.diffusion.schedule import NoiseSchedule


def augment(schedule: NoiseSchedule, frames: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """Corrupt conditioning frames with Eq. 3 at one noise level a sample.

    Level s means s noising steps of Eq. 2: 0 is the clean frame itself, s > 0 is the schedule's
    step s - 1.

    Args:
        frames: latents `[B, F, C, h, w]`.
        noise: standard normal, independent for every frame, same shape.
        level: int64 `[B]` in [0, T_max].
    """
    noised = schedule.add_noise(frames, noise, (level - 1).clamp(min=0))
    return noised.where(level.view(-1, 1, 1, 1, 1) > 0, frames)
