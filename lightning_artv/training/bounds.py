"""The global batch and passes over the data on any number of devices."""

from __future__ import annotations

import math

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightning_artv.errors import UserError


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
