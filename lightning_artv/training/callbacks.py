"""What TensorBoard shows of a training run besides the loss itself."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_artv.batch import VideoBatch
from lightning_artv.progress import Progress

QUARTILES = 4


class Throughput(Callback):
    """`train/samples_per_second` over all ranks and `train/data_wait_share`, every so many batches.

    The data-wait share is the part of the time, in [0, 1], that training spent waiting for the next
    batch.

    Args:
        every_n_batches: batches that one value averages over.
    """

    def __init__(self, every_n_batches: int = 20) -> None:
        self.every_n_batches = max(1, every_n_batches)
        self._clear(time.monotonic())

    def _clear(self, now: float) -> None:
        self._begin = self._batch_end = now
        self._waited = 0.0
        self._samples = 0
        self._batches = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._clear(time.monotonic())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._clear(time.monotonic())  # neither training nor waiting

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: VideoBatch, batch_idx: int
    ) -> None:
        self._waited += time.monotonic() - self._batch_end

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
    ) -> None:
        self._samples += len(batch) * trainer.world_size
        self._batches += 1
        now = self._batch_end = time.monotonic()
        if self._batches < self.every_n_batches:
            return
        seconds = max(now - self._begin, 1e-9)
        values = {
            "train/samples_per_second": self._samples / seconds,
            "train/data_wait_share": self._waited / seconds,
        }
        log_scalars(trainer, values)
        self._clear(time.monotonic())


class ProgressLine(Callback):
    """`step 300/1500, 2.70 steps/s, 7:24 left, loss 0.0041` on stderr, in a terminal or a log.

    For runs that are bounded by `trainer.max_steps`; it is right after a resume too.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and trainer.max_steps > 0:
            self._progress = Progress(trainer.max_steps, "step", trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
    ) -> None:
        if self._progress is not None and trainer.global_step > self._progress.done:
            more = trainer.global_step - self._progress.done
            self._progress(more, f", loss {float(outputs['loss']):.4f}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._progress is not None:
            self._progress.finish()


class LossByTimestep(Callback):
    """`train/loss_q1` (least noise) to `train/loss_q4`; `train/mask_q1` .. where there is a mask.

    Args:
        timesteps: length of the noise schedule; it is cut into four equal parts.
        every_n_batches: batches that one value averages over.
    """

    def __init__(self, timesteps: int = 1000, every_n_batches: int = 50) -> None:
        self.timesteps = timesteps
        self.every_n_batches = max(1, every_n_batches)
        self._outputs: list[dict[str, Tensor]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"outputs": self._outputs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._outputs = list(state_dict["outputs"])

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
    ) -> None:
        self._outputs.append({k: v for k, v in outputs.items() if v is not None and k != "loss"})
        if len(self._outputs) < self.every_n_batches:
            return
        device = self._outputs[-1]["timesteps"].device  # the first ones may be from a checkpoint
        merged = {k: torch.cat([o[k].to(device) for o in self._outputs]) for k in self._outputs[0]}
        self._outputs = []
        timesteps = merged.pop("timesteps")
        values = by_quartile("train/loss", merged["per_sample"], timesteps, self.timesteps)
        if "mask_mean" in merged:
            values |= by_quartile("train/mask", merged["mask_mean"], timesteps, self.timesteps)
        log_scalars(trainer, values)


def by_quartile(name: str, values: Tensor, timesteps: Tensor, length: int) -> dict[str, float]:
    """Means of `values` `[N]` by the quarter of [0, length) that `timesteps` `[N]` are in.

    Returns:
        `name_q1` .. `name_q4`; a quarter without samples is left out.
    """
    quarter = (timesteps * QUARTILES // length).clamp(0, QUARTILES - 1)
    return {
        f"{name}_q{q + 1}": float(values[quarter == q].float().mean())
        for q in range(QUARTILES)
        if bool((quarter == q).any())
    }


def log_scalars(trainer: Trainer, values: dict[str, float]) -> None:
    """Write scalars to every logger at the current optimiser step."""
    for logger in trainer.loggers:
        logger.log_metrics(values, step=trainer.global_step)
