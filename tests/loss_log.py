"""A callback for tests: every loss of a run, exactly, as it happens."""

from __future__ import annotations

import json
import os
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_artv.batch import VideoBatch


class LossLog(Callback):
    """Appends `[step, micro-batch, loss, keys]` to a file; the loss bit for bit.

    Args:
        path: the file; every rank has its own, `path.rank`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.step = self.micro = 0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: VideoBatch, batch_idx: int
    ) -> None:
        self.micro = self.micro + 1 if trainer.global_step == self.step else 0
        self.step = trainer.global_step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step = -1

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
    ) -> None:
        line = [self.step, self.micro, float(outputs["loss"]).hex(), list(batch.keys)]
        with open(f"{self.path}.{trainer.global_rank}", "a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
