"""A diffusers scheduler <-> our noise schedule, prediction type and sampler.

A pipeline keeps them where diffusers' do, in its `scheduler`; our samplers, which equal diffusers'
step by step, do the work.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, Literal, Protocol, TypeVar

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, SchedulerMixin

from lightning_artv.diffusion.schedule import NoiseSchedule
from lightning_artv.errors import UserError


class Scheduled(Protocol):
    """Sampling settings, a dataclass, of which a scheduler says these; None as in `Sampler`."""

    @property
    def sampler(self) -> str: ...
    @property
    def spacing(self) -> str: ...
    @property
    def clip_latents(self) -> float | None: ...
    @property
    def set_alpha_to_one(self) -> bool | None: ...


SAID = ("sampler", "spacing", "clip_latents", "set_alpha_to_one")
"""Names of these settings."""

SettingsT = TypeVar("SettingsT", bound=Scheduled)
Prediction = Literal["epsilon", "v_prediction", "residual"]

SAMPLERS = {
    "DDIMScheduler": "ddim",
    "DPMSolverMultistepScheduler": "dpm-solver++",
    "PNDMScheduler": "ddim",  # Stable Diffusion's own, with the same schedule; said when used
}

# `sample` is the clean frame, which `residual` too predicts where there is no reference
PREDICTIONS: dict[str, Prediction] = {
    "epsilon": "epsilon",
    "v_prediction": "v_prediction",
    "sample": "residual",
}

SCHEDULES = {"scaled_linear": "scaled_linear", "linear": "linear", "squaredcos_cap_v2": "cosine"}

FIXED = {
    "rescale_betas_zero_snr": False,
    "thresholding": False,
    "algorithm_type": "dpmsolver++",
    "solver_order": 2,
    "solver_type": "midpoint",
    "lower_order_final": True,
    "euler_at_final": False,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_lu_lambdas": False,
    "use_flow_sigmas": False,
}
"""Options that our samplers have in one form."""


def scheduler_for(
    schedule: NoiseSchedule, settings: Scheduled, kind: str
) -> DDIMScheduler | DPMSolverMultistepScheduler:
    """The scheduler that says of any system all that a scheduler can.

    Args:
        schedule: noise schedule that the system is trained with.
        settings: its sampling.
        kind: what it predicts.
    """
    common = {
        **betas_of(schedule),
        "steps_offset": 1,
        "timestep_spacing": settings.spacing,
        "prediction_type": {str(v): k for k, v in PREDICTIONS.items()}[kind],
    }
    clip = {
        "clip_sample": settings.clip_latents is not None,
        "clip_sample_range": settings.clip_latents or 1.0,
    }
    to_one = settings.set_alpha_to_one
    if settings.sampler == "ddim":
        return DDIMScheduler(**common, **clip, set_alpha_to_one=bool(to_one))
    last = "zero" if to_one is None or to_one else "sigma_min"
    scheduler = DPMSolverMultistepScheduler(**common, final_sigmas_type=last)
    scheduler.register_to_config(**clip)  # no argument of this class, but kept with its config
    return scheduler


def schedule_from(scheduler: SchedulerMixin) -> NoiseSchedule:
    """The noise schedule of `scheduler`, in float64.

    Raises:
        UserError: one that we have not.
    """
    config = scheduler.config
    if config.trained_betas is not None:
        return NoiseSchedule(torch.tensor(config.trained_betas, dtype=torch.float64))
    steps, form = config.num_train_timesteps, config.beta_schedule
    if form not in SCHEDULES:
        raise UserError(
            f"The scheduler's beta_schedule is {form!r}: use one of {', '.join(SCHEDULES)}."
        )
    if SCHEDULES[form] == "cosine":
        return NoiseSchedule.cosine(steps)
    make = getattr(NoiseSchedule, SCHEDULES[form])
    return make(steps, config.beta_start, config.beta_end)


def prediction_from(scheduler: SchedulerMixin) -> Prediction:
    """What the U-Net predicts, in our words.

    Raises:
        UserError: a prediction type that is neither.
    """
    found = scheduler.config.prediction_type
    if found not in PREDICTIONS:
        raise UserError(
            f"The scheduler's prediction_type is {found!r}: use one of {', '.join(PREDICTIONS)}."
        )
    return PREDICTIONS[found]


def sampling_from(scheduler: SchedulerMixin, defaults: SettingsT) -> SettingsT:
    """`defaults` with the sampler, spacing, clamp and last step of `scheduler`.

    Raises:
        UserError: a scheduler, or an option of one, that we have not.
    """
    name, config = type(scheduler).__name__, scheduler.config
    if name not in SAMPLERS:
        raise UserError(
            f"This pipeline does not sample with {name}: use DDIMScheduler or "
            f"DPMSolverMultistepScheduler (.from_config(scheduler.config))."
        )
    if name == "PNDMScheduler":
        warnings.warn(
            "This pipeline samples with DDIM on PNDMScheduler's noise schedule.", stacklevel=2
        )
    required = dict(FIXED)
    if config.timestep_spacing == "leading":
        required["steps_offset"] = 1
    for option, value in required.items():
        if config.get(option, value) != value:
            raise UserError(
                f"This pipeline does not sample with {option}={config[option]} of {name}: "
                f"set it to {value}."
            )
    to_one = config.get("set_alpha_to_one", False)
    if SAMPLERS[name] == "dpm-solver++":
        to_one = config.get("final_sigmas_type", "zero") == "zero"
    return dataclasses.replace(  # type: ignore[type-var]  # a dataclass, which no Protocol says
        defaults,
        sampler=SAMPLERS[name],
        spacing=config.timestep_spacing,
        set_alpha_to_one=to_one,
        clip_latents=config.get("clip_sample_range", 1.0) if config.get("clip_sample") else None,
    )


def plain_sampling(settings: Any) -> dict[str, Any]:
    """What a scheduler does not say of sampling settings, as plain data."""
    plain = dataclasses.asdict(settings)
    return {name: value for name, value in plain.items() if name not in SAID}


def betas_of(schedule: NoiseSchedule) -> dict[str, Any]:
    """The arguments of a scheduler that give exactly `schedule`."""
    steps = len(schedule)
    ranges = {"scaled_linear": (0.00085, 0.012), "linear": (1e-4, 0.02)}
    for form, ours in SCHEDULES.items():
        if torch.equal(getattr(NoiseSchedule, ours)(steps).betas, schedule.betas):
            start, end = ranges.get(form, (1e-4, 0.02))
            return {
                "num_train_timesteps": steps,
                "beta_schedule": form,
                "beta_start": start,
                "beta_end": end,
            }
    return {"num_train_timesteps": steps, "trained_betas": schedule.betas.tolist()}
