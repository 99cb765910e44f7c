"""How much a study spends, and on what."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_artv.errors import UserError
from lightning_artv.numbers import whole_number


@dataclass(frozen=True)
class Budget:
    """How much is spent.

    Attributes:
        name: name in `plan.json`; with a `*` where a number was changed.
        steps: optimiser steps per variant: a multiple of the configuration's interval of
            checkpoints, unless below it.
        train_worlds, heldout_worlds: videos to train on and to compute the validation loss on.
        clips: held-out videos of 16 frames that every variant is measured on.
        long_clips, long_frames: the first of them that go on for longer, and for how long.
        sweep_clips: videos of 16 frames per value of a sweep.
    """

    name: str
    steps: int
    train_worlds: int
    heldout_worlds: int
    clips: int
    long_clips: int
    long_frames: int
    sweep_clips: int

    def with_changes(self, changes: Sequence[str]) -> Budget:
        """The budget with numbers changed by `name=number`.

        Raises:
            UserError: no such number, or one that is too small.
        """
        names = [f.name for f in dataclasses.fields(self) if f.name != "name"]
        values = {}
        for change in changes:
            name, _, text = change.partition("=")
            number = whole_number(text)
            if name not in names or number is None or number < 1:
                raise UserError(
                    f"--set takes NAME=NUMBER with one of {', '.join(names)} and a whole number "
                    f"above 0, got '{change}'."
                )
            values[name] = number
        changed = dataclasses.replace(self, **values)  # type: ignore[arg-type]
        return self if changed == self else dataclasses.replace(changed, name=f"{self.name}*")


QUICK = Budget("quick", 100, 1000, 128, 32, 12, 128, 32)
LONG = Budget("long", 1000, 8000, 256, 128, 48, 128, 64)


@dataclass(frozen=True)
class Spending:
    """A budget, and what it is spent on where nothing else is asked for; sweeps: None for all."""

    budget: Budget
    variants: tuple[str, ...]
    sweeps: tuple[str, ...] | None = None
