"""SIGTERM and SIGUSR1 end a run at the end of a step, with a checkpoint to go on from."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_artv.training.run_folder import LAST

SIGNALS = tuple(getattr(signal, n) for n in ("SIGTERM", "SIGUSR1") if hasattr(signal, n))


class StopOnSignal(Callback):
    """After SIGTERM or SIGUSR1: finishes the optimiser step, saves `last.ckpt` and exits.

    The exit code is 128 plus the signal's number: 143 for SIGTERM, 138 for SIGUSR1. A validation or
    sample logging that is running ends first. A second signal ends the process at once. All ranks
    stop at the same step, whichever got the signal. Under SLURM with automatic requeueing, SIGUSR1
    also does what Lightning does for it (`scontrol requeue`), but at the end of the step.

    `VideoModule` adds this callback to every run by itself.
    """

    def __init__(self) -> None:
        self._received = 0
        self._requeue: Any = None
        self._step = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.received_sigterm:  # while the data was being set up
            self._received = signal.SIGTERM
        if threading.current_thread() is not threading.main_thread():
            return  # no other thread may set handlers
        self._requeue = signal.getsignal(signal.SIGUSR1) if len(SIGNALS) > 1 else None
        for number in SIGNALS:
            signal.signal(number, self._note)  # Lightning puts the former ones back at the end

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received:
            os._exit(128 + number)
        self._received = number

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:
            return  # gradients are still accumulating
        number = self._received
        if trainer.world_size > 1:
            here = torch.tensor(number, device=trainer.strategy.root_device)
            number = int(trainer.strategy.reduce(here, reduce_op="max"))
        if number:
            self._stop(trainer, number)

    def _stop(self, trainer: Trainer, number: int) -> None:
        path = last_checkpoint(trainer)
        trainer.save_checkpoint(path)
        if number != signal.SIGTERM and callable(self._requeue):
            self._requeue(number, None)
        if trainer.is_global_zero:
            name = signal.Signals(number).name
            print(
                f"Stopped by {name} after step {trainer.global_step}; `--ckpt_path last` goes on "
                f"from {path}.",
                file=sys.stderr,
                flush=True,
            )
        raise SystemExit(_exit_code(trainer, number))


def last_checkpoint(trainer: Trainer) -> Path:
    """Where `--ckpt_path last` looks for a run's last checkpoint."""
    callback = trainer.checkpoint_callback
    folder = getattr(callback, "dirpath", None) or Path(trainer.default_root_dir) / "checkpoints"
    return Path(folder) / LAST


def _exit_code(trainer: Trainer, number: int) -> int:
    """0 in a process that Lightning itself launched: it kills the main one where one fails."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    launched = environment is not None and not environment.creates_processes_externally
    return 0 if launched and not trainer.is_global_zero else 128 + number
