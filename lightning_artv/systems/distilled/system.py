"""The student, its teacher and what the one learns of the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.loss import clean_error
from lightning_artv.diffusion.noise import Generators, randn
from lightning_artv.errors import UserError
from lightning_artv.systems.base import (
    LossOutput,
    Observer,
    Recorder,
    Request,
    SamplingSettings,
    VideoSystem,
)
from lightning_artv.systems.settings import setting_names, with_settings
from lightning_artv.systems.teaching import Exercise, Practice, Teachable, Teacher


@dataclass(frozen=True)
class Distillation(Practice):
    """How a student is trained; what is said of `Practice` holds here too.

    Attributes:
        truth: weight of the data's latents, beside `1 - truth` of the teacher's, where a target
            follows frames. After the student's own frames it mends their faults, which a teacher
            that has never seen them hands on. 1 asks no teacher there, if the student takes one
            step.
        huber: an error e counts as `sqrt(e^2 + huber^2) - huber` (pseudo-Huber); 0: `e^2`.

    Raises:
        UserError: a share outside [0, 1], or a negative `huber`.
    """

    truth: float = 0.0
    huber: float = 0.03

    def __post_init__(self) -> None:
        for name in ("own", "first", "truth"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(
                    f"{name} is {getattr(self, name)}, and no share: choose one in [0, 1]."
                )
        if not 0 <= self.huber < math.inf:
            raise UserError(f"huber is {self.huber}: choose 0 or more.")


TRAINING = Distillation()


class Distilled(VideoSystem):
    """A trained system that learns to need fewer steps and no guidance.

    The student begins as its teacher. Both are given the same conditions, frames that the student
    made among them (self-forcing), and the same noise. The teacher denoises it with all its steps
    and its guidance; at each of its own steps the student learns to answer, from where the teacher
    was there, what the teacher arrives at (one evaluation a step: the guidance is folded in). The
    deterministic samplers make that a function of the noise, so that answers stay as sharp and as
    various as the teacher's.

    Args:
        teacher: trained system.
        sampling: the student's settings of generation, where they differ from the teacher's own:
            name -> value, as in `--set`. Weights of guidance that are not named become 0.
        teaching: settings that the teacher answers with, where they differ from its own.
        training: how the loss is made.

    Raises:
        UserError: a system that cannot be distilled, or settings that it has not.
    """

    def __init__(
        self,
        teacher: Teacher,
        sampling: dict[str, Any],
        teaching: dict[str, Any] | None = None,
        training: Distillation = TRAINING,
    ) -> None:
        super().__init__()
        taught = teacher.load().requires_grad_(False)
        if not isinstance(taught, Teachable):
            raise UserError(f"A {type(taught).__name__} cannot be distilled: give another teacher.")
        student = deepcopy(taught)
        student.denoiser.requires_grad_(True)
        student.resample({**_no_guidance(student.sampling), **sampling})
        self.student: Teachable = student
        self.training_options = training
        self._taught = (taught,)  # not a module of this one: neither trained nor stored
        self._teaching = with_settings(taught.sampling, teaching or {})
        self.windows = student.windows  # type: ignore[misc]
        self.continues = student.continues

    # Training

    def loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        """The mean error of the student's answers, at all its steps.

        Raises:
            UserError: a step of the student's that is none of the teacher's.
        """
        practice: Practice = self.training_options
        if not self.training:  # validated on windows of one target
            practice = replace(practice, own=0.0)
        errors = torch.zeros(len(generators), device=next(self.student.parameters()).device)
        for exercise in self.student.exercises(batch, practice, generators):
            mine = [generators[row] for row in exercise.rows.tolist()]
            noise = randn(mine, exercise.clean.shape[1:], exercise.clean.device)
            errors = errors.index_copy(0, exercise.rows, self._errors(exercise, noise))
        return LossOutput(errors.mean(), errors.detach())

    def _errors(self, exercise: Exercise, noise: Tensor) -> Tensor:
        """`[R]`, a mean over the student's steps."""
        sampler, answer = self.student.solution(exercise, self.sampling)
        steps = [step.timestep for step in sampler.plan(self.student.denoiser.schedule)]
        truth = self.training_options.truth if exercise.follows else 0.0
        trail: Mapping[int, Tensor] = {steps[0]: noise}
        taught = exercise.clean
        if truth < 1 or len(steps) > 1:
            trail, taught = self._ask(exercise, noise, steps)
        huber, errors = self.training_options.huber, []
        for step in steps:
            clean = answer(trail[step], step)
            error = (1 - truth) * clean_error(clean, taught, huber)
            errors.append(error + truth * clean_error(clean, exercise.clean, huber))
        return torch.stack(errors).mean(dim=0)

    @torch.no_grad()
    def _ask(
        self, exercise: Exercise, noise: Tensor, steps: list[int]
    ) -> tuple[Mapping[int, Tensor], Tensor]:
        """Where the teacher was at each timestep, and the clean latents that it arrived at."""
        teacher = self._taught[0].to(noise.device)
        sampler, answer = teacher.solution(exercise, self._teaching)
        trail: dict[int, Tensor] = {}

        def followed(y_t: Tensor, t: int) -> Tensor:
            trail[t] = y_t
            return answer(y_t, t)

        taught = sampler.sample(followed, noise, teacher.denoiser.schedule)
        if missing := [step for step in steps if step not in trail]:
            raise UserError(
                f"The student's steps {steps} are to be among the teacher's {list(trail)}, but "
                f"{missing} are not: give both one spacing, and the teacher a multiple of the "
                "student's steps."
            )
        return trail, taught

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """The student's denoiser's."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def blocks(self) -> list[nn.Module]:
        """The student's."""
        return self.student.blocks()

    def shard_units(self) -> list[nn.Module]:
        """The student's."""
        return self.student.shard_units()

    # Generation is the student's

    def delivered(self) -> VideoSystem:
        """The student: a system of the teacher's kind."""
        return self.student

    @property
    def sampling(self) -> SamplingSettings:
        """The student's."""
        return self.student.sampling

    @property
    def size_multiple(self) -> int:
        """The student's."""
        return self.student.size_multiple

    def check(self, request: Request) -> None:
        """See `VideoSystem.check`."""
        self.student.check(request)

    def frames(self, request: Request, observer: Observer | None = None) -> Iterator[Tensor]:
        """See `VideoSystem.frames`."""
        return self.student.frames(request, observer)

    def recorder(self) -> Recorder | None:
        """The student's."""
        return self.student.recorder()

    def given(self, batch: VideoBatch) -> Tensor | None:
        """The student's."""
        return self.student.given(batch)

    def pixels(self, frames: Tensor) -> Tensor:
        """The student's."""
        return self.student.pixels(frames)


def _no_guidance(settings: SamplingSettings) -> dict[str, Any]:
    """All weights of guidance, as 0."""
    names = setting_names(settings)
    return {name: 0.0 for name in names if "guidance" in name.split(".")[0]}
