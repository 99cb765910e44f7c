"""What TensorBoard shows of a training run besides the loss itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from torch import Tensor

from lightning_artv.batch import VideoBatch
from lightning_artv.checkpoints.earlier import step_output
from lightning_artv.progress import Progress
from lightning_artv.training.module import VideoModule

QUARTILES = 4


class Throughput(Callback):
    """`train/samples_per_second` over all ranks and `train/data_wait_share`, every so many batches.

    The data-wait share is the part of the time, in [0, 1], that training spent waiting for the next
    batch, as a mean over the ranks.

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
        waited = torch.tensor(self._waited / seconds, device=trainer.strategy.root_device)
        values = {
            "train/samples_per_second": self._samples / seconds,
            "train/data_wait_share": float(trainer.strategy.reduce(waited, reduce_op="mean")),
        }
        log_scalars(trainer, values)
        self._clear(time.monotonic())


class ProgressLine(Callback):
    """`step 300/1500, 2.70 steps/s, 7:24 left, loss 0.0041` on stderr, in a terminal or a log.

    What is left is until the limit that ends the run first: steps, epochs or time; a run without
    any shows none. The loss is that of the optimiser step, over its micro-batches and all ranks.
    It is right after a resume too.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        steps = trainer.estimated_stepping_batches  # every rank must ask
        total = int(steps) if 0 < steps < math.inf else None
        if trainer.is_global_zero:
            left = partial(seconds_left, trainer)
            self._progress = Progress(total, "step", trainer.global_step, left)

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
            self._progress(more, partial(_loss, pl_module))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._progress is not None:
            self._progress.finish()


def seconds_left(trainer: Trainer) -> float:
    """What `trainer.max_time` leaves; infinite without it."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    left = [c.time_remaining() for c in callbacks if isinstance(c, Timer)]
    return min((seconds for seconds in left if seconds is not None), default=math.inf)


def _loss(module: LightningModule) -> str:
    assert isinstance(module, VideoModule)
    return f", loss {float(module.step_loss):.4f}"


class LossByTimestep(Callback):
    """`train/loss_q1` (least noise) to `train/loss_q4`, and the same of a system's own scalars.

    Means over the samples of all ranks. A system whose samples have no noise level has only
    `train/<name>` of its own scalars.

    Args:
        every_n_batches: batches that one value averages over.
    """

    def __init__(self, every_n_batches: int = 50) -> None:
        self.every_n_batches = max(1, every_n_batches)
        self._outputs: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"outputs": self._outputs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._outputs = [step_output(output) for output in state_dict["outputs"]]

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
    ) -> None:
        values = {"loss": outputs["per_sample"], **outputs["scalars"]}
        self._outputs.append({"level": outputs["level"], "values": values})
        if len(self._outputs) >= self.every_n_batches:
            reduce = partial(trainer.strategy.reduce, reduce_op="sum")
            log_scalars(trainer, means(self._outputs, reduce))
            self._outputs = []


Reduce = Callable[[Tensor], Any]
"""Adds up the sums and counts `[2, N]` of all ranks."""


def means(outputs: Sequence[Mapping[str, Any]], reduce: Reduce) -> dict[str, float]:
    """What `LossByTimestep` logs of the batches that it kept."""
    device = outputs[-1]["values"]["loss"].device  # the first ones may be from a checkpoint

    def together(parts: Iterable[Tensor]) -> Tensor:
        return torch.cat([part.to(device) for part in parts])

    found: dict[str, float] = {}
    for name in outputs[-1]["values"]:
        values = together(output["values"][name] for output in outputs)
        if outputs[-1]["level"] is not None:
            level = together(output["level"] for output in outputs)
            found |= by_quartile(f"train/{name}", values, level, reduce)
        elif name != "loss":  # which the module logs
            total, count = reduce(_sums(values, torch.zeros_like(values), 1))[:, 0].tolist()
            found[f"train/{name}"] = total / count
    return found


def by_quartile(
    name: str, values: Tensor, level: Tensor, reduce: Reduce = lambda sums: sums
) -> dict[str, float]:
    """Means of `values` `[N]` by the quarter of [0, 1] that `level` `[N]` is in.

    Returns:
        `name_q1` .. `name_q4`; a quarter without samples is left out.
    """
    sums = _sums(values, level, QUARTILES)
    quarters = enumerate(reduce(sums).T.tolist(), start=1)
    return {f"{name}_q{q}": total / count for q, (total, count) in quarters if count}


def _sums(values: Tensor, level: Tensor, parts: int) -> Tensor:
    """Sums and counts `[2, parts]` of `values` `[N]` by the equal part of [0, 1] that `level` is
    in.
    """
    part = (level * parts).long().clamp(0, parts - 1)
    rows = torch.stack([values.float(), torch.ones_like(values, dtype=torch.float32)])
    return torch.zeros(2, parts, device=values.device).index_add_(1, part, rows)


def log_scalars(trainer: Trainer, values: dict[str, float]) -> None:
    """Write scalars to every logger at the current optimiser step."""
    for logger in trainer.loggers:
        logger.log_metrics(values, step=trainer.global_step)
