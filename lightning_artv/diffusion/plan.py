"""What a sampler will do, as data: a list of plain steps from noise to a clean latent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lightning_artv.diffusion.schedule import NoiseSchedule

Spacing = Literal["leading", "trailing", "linspace"]
"""How timesteps are chosen (Lin et al. 2024, Table 2)."""


@dataclass(frozen=True)
class Level:
    """A point of the schedule, `y = signal * y0 + noise * eps`."""

    signal: float
    noise: float

    @property
    def log_snr(self) -> float:
        """Half the log signal-to-noise ratio, `log(signal / noise)`; infinite without noise."""
        return math.log(self.signal / self.noise) if self.noise else math.inf


@dataclass(frozen=True)
class Step:
    """One denoising step: the network's timestep, the level it starts from, the one it reaches."""

    timestep: int
    now: Level
    next: Level


def ddim_plan(
    schedule: NoiseSchedule,
    steps: int,
    spacing: Spacing = "leading",
    steps_offset: int = 1,
    set_alpha_to_one: bool = False,
) -> list[Step]:
    """DDIM's steps.

    As in diffusers each goes down by `len(schedule) // steps`, whatever the spacing. Under
    `trailing` and `linspace` a count that does not divide the schedule therefore leaves the level
    reached and the next timestep slightly apart.
    """
    length = _check(schedule, steps, steps_offset)
    stride = length // steps
    last = Level(1.0, 0.0) if set_alpha_to_one else _level(schedule, 0)
    if spacing == "leading":
        # diffusers would leave the schedule where steps == length; the offset shrinks instead
        offset = min(steps_offset, length - 1 - (steps - 1) * stride)
        timesteps = [index * stride + offset for index in reversed(range(steps))]
    elif spacing == "linspace":
        timesteps = _linspace(length - 1, steps)[::-1]
    else:
        timesteps = _trailing(length, steps, spacing)
    return [
        Step(t, _level(schedule, t), _level(schedule, t - stride) if t >= stride else last)
        for t in timesteps
    ]


def dpm_plan(
    schedule: NoiseSchedule,
    steps: int,
    spacing: Spacing = "leading",
    steps_offset: int = 1,
    set_alpha_to_one: bool = True,
) -> list[Step]:
    """DPM-Solver++'s steps: each reaches the timestep of the next one.

    As in diffusers, `leading` and `linspace` space `steps + 1` points and leave out the lowest.

    Raises:
        ValueError: more steps than the spacing has different timesteps for.
    """
    length = _check(schedule, steps, steps_offset)
    if spacing == "leading":
        stride = length // (steps + 1)
        timesteps = [index * stride + steps_offset for index in range(steps, 0, -1)]
    elif spacing == "linspace":
        timesteps = _linspace(length - 1, steps + 1)[:0:-1]
    else:
        timesteps = _trailing(length, steps, spacing)
    if len(set(timesteps)) < steps or max(timesteps) >= length:
        raise ValueError(
            f"dpm-solver++ with {spacing!r} spacing finds no {steps} different timesteps in a "
            f"schedule of {length}: use fewer steps, or ddim."
        )
    last = Level(1.0, 0.0) if set_alpha_to_one else _level(schedule, 0)
    levels = [*(_level(schedule, t) for t in timesteps), last]
    return [Step(t, levels[i], levels[i + 1]) for i, t in enumerate(timesteps)]


def _check(schedule: NoiseSchedule, steps: int, steps_offset: int) -> int:
    if steps_offset < 0:
        raise ValueError(f"steps_offset must be at least 0, got {steps_offset}.")
    if not 1 <= steps <= len(schedule):
        raise ValueError(f"steps must lie in 1 .. {len(schedule)} (the schedule), got {steps}.")
    return len(schedule)


def _level(schedule: NoiseSchedule, t: int) -> Level:
    alpha_bar = float(schedule.alpha_bar[t])
    return Level(math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))


def _linspace(last: int, points: int) -> list[int]:
    """`points` integers from 0 to `last`, ascending; one point is 0."""
    return [round(last / max(points - 1, 1) * index) for index in range(points)]


def _trailing(length: int, steps: int, spacing: str) -> list[int]:
    if spacing != "trailing":
        raise ValueError(f"spacing must be leading, trailing or linspace, got {spacing!r}.")
    delta = (length - length / steps) - length  # rounded as numpy.arange does: halves fall alike
    return [round(length + index * delta) - 1 for index in range(steps)]
