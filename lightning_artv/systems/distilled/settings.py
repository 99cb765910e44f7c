"""How a student is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_artv.errors import UserError
from lightning_artv.systems.teaching import Practice


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
