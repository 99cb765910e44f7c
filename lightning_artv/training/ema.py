"""Exponential moving average of the trainable weights (paper Sec. 4: decay 0.9999)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from lightning_artv.checkpoints.file import EMA_KEY
from lightning_artv.checkpoints.sharding import local
from lightning_artv.checkpoints.weights import check_weights
from lightning_artv.errors import UserError
from lightning_artv.training.module import VideoModule


class EMA(Callback):
    """Keeps `ema = decay * ema + (1 - decay) * weight` after each optimiser step, in float32.

    Only trainable parameters are averaged. Validation, test, prediction and sample logging run
    under the averaged weights; training never does. Both sets are in the checkpoint: the raw ones
    under `state_dict`, the averaged ones under `ema`. Under FSDP2 each rank averages its own
    shards: no communication, and the same bits as without shards.

    Args:
        decay: decay in [0, 1).
        warmup: use `min(decay, (1 + n) / (10 + n))` at update n = 0, 1, ..., so that a short run is
            not dominated by its first weights.

    Raises:
        UserError: a decay outside [0, 1).
    """

    def __init__(self, decay: float = 0.9999, warmup: bool = False) -> None:
        if not 0.0 <= decay < 1.0:
            raise UserError(f"EMA.decay must be in [0, 1), got {decay}.")
        self.decay = decay
        self.warmup = warmup
        self.updates = 0
        self.swapped = False
        self._weights: dict[str, Tensor] = {}
        self._pairs: tuple[list[Tensor], list[nn.Parameter]] = ([], [])
        self._loaded: dict[str, Tensor] | None = None
        self._last_step = 0

    def decay_at(self, update: int) -> float:
        """The decay that update number `update` (0, 1, ...) uses."""
        return min(self.decay, (1 + update) / (10 + update)) if self.warmup else self.decay

    def weights(self) -> Mapping[str, Tensor]:
        """Name -> averaged weight, float32 (the raw weights while `applied`)."""
        return self._weights

    @torch.no_grad()
    def update(self) -> None:
        """One step of the average towards the weights that training started with.

        They are looked up once, in `track`: walking over a system of 686 parameters costs more than
        averaging them. The parameters themselves are kept, as the optimiser does, not their memory,
        which `Module.to` and FSDP2 may move.
        """
        average, live = self._pairs
        weight = 1.0 - self.decay_at(self.updates)
        here = [p.to_local() if isinstance(p, DTensor) else p for p in live]
        torch._foreach_lerp_(average, [x.float() for x in here], weight)
        self.updates += 1

    def track(self, module: VideoModule) -> None:
        """Look the parameters up that `update` is to follow."""
        self._ready(module)
        parameters = module.system.trainable_parameters()
        self._pairs = (
            [local(self._weights[name]) for name in parameters],
            list(parameters.values()),
        )

    @contextmanager
    def applied(self, module: VideoModule) -> Iterator[None]:
        """The system computes with the averaged weights inside this block; nesting is harmless."""
        if self.swapped:
            yield
            return
        self._swap(module)
        try:
            yield
        finally:
            self._swap(module)

    @torch.no_grad()
    def _swap(self, module: VideoModule) -> None:
        """Exchange live and averaged values, one tensor at a time (float32 holds any exactly)."""
        self._ready(module)
        for name, parameter in module.system.trainable_parameters().items():
            live, average = local(parameter), local(self._weights[name])
            raw = live.float().clone()
            live.copy_(average)
            average.copy_(raw)
        self.swapped = not self.swapped

    @torch.no_grad()
    def _ready(self, module: VideoModule) -> None:
        """Make the averaged tensors beside the live ones, from a loaded checkpoint if any."""
        parameters = module.system.trainable_parameters()
        if not self._weights:
            self._weights = {n: p.detach().clone().float() for n, p in parameters.items()}
        if self._loaded is not None:
            check_weights(self._loaded, parameters, "EMA weights")
            for name, average in self._weights.items():
                average.copy_(self._loaded[name])
            self._loaded = None

    # Lightning's hooks

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ready(_video(pl_module))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.track(_video(pl_module))  # under FSDP2 the checkpoint is read after on_fit_start
        self._last_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._last_step:
            return  # gradients are still accumulating
        self._last_step = trainer.global_step
        self.update()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.swapped:
            self._swap(_video(pl_module))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.swapped:
            self._swap(_video(pl_module))

    on_test_start = on_predict_start = on_validation_start
    on_test_end = on_predict_end = on_validation_end

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self.on_validation_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        module = _video(pl_module)
        self._ready(module)
        average: Mapping[str, Tensor] = self._weights
        if self.swapped:  # saved during validation: the live tensors hold the average, ours the raw
            average = {
                n: p.detach().float() for n, p in module.system.trainable_parameters().items()
            }
            for name, raw in self._weights.items():
                key = f"system.{name}"
                checkpoint["state_dict"][key] = raw.to(checkpoint["state_dict"][key].dtype)
        checkpoint[EMA_KEY] = {"updates": self.updates, "weights": dict(average)}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved = checkpoint.get(EMA_KEY)
        if saved is None:
            self._weights = {}  # a run without EMA: the average starts from the restored weights
            return
        self.updates = int(saved["updates"])
        self._loaded = saved["weights"]


def find_ema(trainer: Trainer) -> EMA | None:
    """The trainer's EMA callback, if it has one."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((c for c in callbacks if isinstance(c, EMA)), None)


def _video(module: LightningModule) -> VideoModule:
    assert isinstance(module, VideoModule)
    return module
