"""Which numbers a training may have, and what they come to on any number of devices."""

from __future__ import annotations

import math

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightning_artv.errors import UserError


def check_numbers(
    lr: float,
    weight_decay: float,
    betas: tuple[float, float],
    warmup_steps: int,
    predict_frames: int,
) -> None:
    """Raises:
    UserError: a number outside its range.
    """
    for name, good in {
        f"lr {lr} must not be negative": 0 <= lr < math.inf,
        f"weight_decay {weight_decay} must not be negative": 0 <= weight_decay < math.inf,
        f"betas {betas} must be in [0, 1)": all(0 <= beta < 1 for beta in betas),
        f"warmup_steps {warmup_steps} must not be negative": warmup_steps >= 0,
        f"predict_frames {predict_frames} must be at least 1": predict_frames >= 1,
    }.items():
        if not good:
            raise UserError(f"model.{name}.")


def fill_global_batch(trainer: Trainer, global_batch: int | None) -> None:
    """Accumulate as many batches as make `global_batch` samples; None leaves that as it is.

    Raises:
        UserError: the global batch does not divide.
    """
    if global_batch is not None:
        batch = trainer.datamodule.batch_size  # type: ignore[attr-defined]
        trainer.accumulate_grad_batches = accumulation_steps(
            global_batch, trainer.world_size, batch
        )


def accumulation_steps(global_batch: int, devices: int, batch: int) -> int:
    """How many batches of `batch` on each of `devices` make one optimiser step.

    Raises:
        UserError: `global_batch` is not a multiple of what one pass over all devices holds.
    """
    steps, rest = divmod(global_batch, devices * batch)
    if rest or not steps:
        raise UserError(
            f"model.global_batch_size {global_batch} is not a multiple of {devices} devices x "
            f"data.batch_size {batch}: choose a data.batch_size for which it is."
        )
    return steps


def bound_by_passes(trainer: Trainer) -> None:
    """End a run that is bounded by `trainer.max_epochs` after so many passes over its data.

    The stream of training data is endless, so that no epoch of it would ever end.
    """
    passes, data = trainer.max_epochs, getattr(trainer, "datamodule", None)
    count = getattr(data, "batches_a_pass", None) if trainer.limit_train_batches == 1.0 else None
    if trainer.max_steps != -1 or passes is None or passes < 1 or count is None:
        return
    batches = passes * count()
    steps = math.ceil(batches / trainer.accumulate_grad_batches)
    trainer.fit_loop.epoch_loop.max_steps = steps
    rank_zero_info(f"trainer.max_epochs {passes}: {steps} optimiser steps.")
