"""Samplers as data and arithmetic: a plan lists plain steps, a step is a function, a loop runs it.

Both equal diffusers' schedulers step by step (`DDIMScheduler`, `DPMSolverMultistepScheduler` with
`dpmsolver++`, second order, midpoint, `lower_order_final`), their choice of timesteps included.
They know no network: `denoise` answers with the clean picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_artv.diffusion.noise import Generators, randn
from lightning_artv.diffusion.plan import Spacing, Step, ddim_plan, dpm_plan
from lightning_artv.diffusion.prediction import eps_from_x0
from lightning_artv.diffusion.schedule import NoiseSchedule

Denoise = Callable[[Tensor, int], Tensor]
"""`(y_t [B, ...] float32, t) -> predicted clean latents` of the same shape."""

Revise = Callable[[int, Tensor], Tensor]
"""`(index of the step, latents that it reached) -> latents to go on with`."""

SAMPLERS = ("ddim", "dpm-solver++")


@dataclass(frozen=True)
class Sampled:
    """What `on_step` sees after a step.

    Attributes:
        index: 0 .. steps-1, in the order of denoising.
        timestep: the schedule's t that the network was asked at.
        clean: predicted clean latents `[B, ...]`, clamped where `clip` asks for it.
        latents: the latents that the step reached, `[B, ...]`.
    """

    index: int
    timestep: int
    clean: Tensor
    latents: Tensor


@dataclass(frozen=True)
class Sampler:
    """How noise becomes clean latents.

    Attributes:
        steps: denoising steps, 1 .. len(schedule); each asks the network once.
        kind: `ddim` or `dpm-solver++`.
        spacing: how timesteps are chosen (Lin et al. 2024, Table 2).
        set_alpha_to_one: whether the last step removes all noise instead of stopping at the
            schedule's first level. None for what diffusers does with Stable Diffusion's settings:
            no for ddim, yes for dpm-solver++.
        clip: clamp predicted clean latents to [-clip, clip]; the noise is then derived again from
            the clamped value (diffusers' `use_clipped_model_output`), so that `y_t` stays
            explained.
        steps_offset: added to the timesteps of `leading`; Stable Diffusion's is 1.
        eta: ddim only; 0 is deterministic, 1 is ancestral (DDPM's variance). Needs generators
            where not 0.

    Raises:
        ValueError: a kind of sampler that there is not, or an `eta` that it has no use for.
    """

    steps: int = 50
    kind: str = "ddim"
    spacing: Spacing = "leading"
    set_alpha_to_one: bool | None = None
    clip: float | None = None
    steps_offset: int = 1
    eta: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in SAMPLERS:
            raise ValueError(
                f"The sampler must be one of {', '.join(SAMPLERS)}, got {self.kind!r}."
            )
        if self.eta and self.kind != "ddim":
            raise ValueError("eta needs the ddim sampler.")

    def plan(self, schedule: NoiseSchedule) -> list[Step]:
        """The steps from noise to clean latents.

        Raises:
            ValueError: a spacing that there is not, or steps that the schedule cannot serve.
        """
        is_ddim, to_one = self.kind == "ddim", self.set_alpha_to_one
        make = ddim_plan if is_ddim else dpm_plan
        last = not is_ddim if to_one is None else to_one
        return make(schedule, self.steps, self.spacing, self.steps_offset, last)

    @torch.no_grad()
    def sample(
        self,
        denoise: Denoise,
        noise: Tensor,
        schedule: NoiseSchedule,
        generators: Generators | None = None,
        on_step: Callable[[Sampled], None] | None = None,
        revise: Revise | None = None,
    ) -> Tensor:
        """Denoise `noise`; float32 throughout, without gradients.

        Args:
            denoise: predicts the clean latents behind `y_t` at timestep t, guidance included.
            noise: standard normal `[B, ...]`.
            schedule: the one that the network was trained with.
            generators: one per sample, for `eta`.
            on_step: called after every step.
            revise: ddim only; its latents take the place of those that the step reached.

        Returns:
            Clean latents, float32, of the shape of `noise`.

        Raises:
            ValueError: steps that the schedule cannot serve, `eta` without generators, or `revise`
                with a multistep sampler, which cannot be restarted elsewhere.
        """
        self._check(generators, revise)
        y_t, previous = noise.float(), None
        for index, step in enumerate(self.plan(schedule)):
            clean = denoise(y_t, step.timestep).float()
            if self.clip is not None:
                clean = clean.clamp(-self.clip, self.clip)
            if self.kind == "ddim":
                shape, device = y_t.shape[1:], y_t.device
                fresh = randn(generators, shape, device) if self.eta and generators else None
                y_t = ddim_step(y_t, clean, step, self.eta, fresh)
                y_t = y_t if revise is None else revise(index, y_t)
            else:
                lower_order = index == self.steps - 1 and self.steps < 15  # lower_order_final
                y_t = dpm_step(y_t, clean, step, None if lower_order else previous)
                previous = (clean, step)
            if on_step is not None:
                on_step(Sampled(index, step.timestep, clean, y_t))
        return y_t

    def _check(self, generators: Generators | None, revise: Revise | None) -> None:
        if revise is not None and self.kind != "ddim":
            raise ValueError(f"Latents cannot be revised between the steps of {self.kind}.")
        if self.eta and generators is None:
            raise ValueError("eta needs one generator per sample.")


def ddim_step(
    y_t: Tensor, clean: Tensor, step: Step, eta: float = 0.0, fresh_noise: Tensor | None = None
) -> Tensor:
    """Song et al. 2021, Eq. 12 and 16: latents at `step.next`, given the predicted clean ones."""
    now, target = step.now, step.next
    eps = eps_from_x0(y_t, clean, now.signal, now.noise)
    ratio = now.signal / target.signal
    std = eta * target.noise / now.noise * math.sqrt(max(0.0, 1 - ratio**2))
    mean = target.signal * clean + math.sqrt(max(0.0, target.noise**2 - std**2)) * eps
    return mean if fresh_noise is None else mean + std * fresh_noise


def dpm_step(
    y_t: Tensor, clean: Tensor, step: Step, previous: tuple[Tensor, Step] | None = None
) -> Tensor:
    """DPM-Solver++(2M), midpoint (Lu et al. 2022, Alg. 2).

    First order without `previous`, and in the step that removes all noise.

    Args:
        y_t: latents at `step.now`.
        clean: predicted clean latents there.
        step: levels it leads from and to.
        previous: the predicted clean latents of the step before, and that step.
    """
    now, target = step.now, step.next
    h = target.log_snr - now.log_snr
    if previous is not None and math.isfinite(h):
        old_clean, old_step = previous
        slope = (clean - old_clean) / (now.log_snr - old_step.now.log_snr)
        clean = clean + h / 2 * slope
    return target.noise / now.noise * y_t - target.signal * math.expm1(-h) * clean
