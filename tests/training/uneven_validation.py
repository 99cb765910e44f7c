"""Validation and test where ranks have different numbers of samples.

`main(out, shards)`, in a process without threads, does both with each of the validation sets in
SHARDS, on 2 ranks with DDP; each run writes what rank 0 logged as OUT/NAME.pt.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from distributed_run import dist_size, group, system
from lightning.pytorch import Trainer

from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.training.module import VideoModule

SETS = {"one": 1, "three": 3}
"""Validation samples, of a batch each: ranks have 1 and 0, and 2 and 1."""


def run(shards: Path, val: str, strategy: str = "auto", devices: int = 1) -> dict[str, Any]:
    """Validation, test and two steps of training with validation; what was logged."""
    torch.manual_seed(0)
    model = VideoModule(system())
    # As CLIP's text encoder has one: DDP sends it to all ranks in each call, in evaluation too.
    model.system.register_buffer("positions", torch.zeros(1), persistent=False)
    data = VideoDataModule(
        str(shards / "train"),
        str(shards / val),
        size=8,
        fps=None,
        batch_size=2,
        val_batch_size=1,
        num_workers=0,
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy=strategy,
        max_steps=2,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    before = trainer.validate(model, data, verbose=False)[0]["val/loss"]
    test = trainer.test(model, data, verbose=False)[0]["test/loss"]
    trainer.fit(model, data)
    after = float(trainer.callback_metrics["val/loss"])
    return {"validate": before, "test": test, "steps": trainer.global_step, "after": after}


def one(out: Path, shards: Path) -> dict[str, Any]:
    return run(shards, "one", "ddp", dist_size())


def three(out: Path, shards: Path) -> dict[str, Any]:
    return run(shards, "three", "ddp", dist_size())


def called(function: Any, shards: Path) -> Any:
    call = partial(function, shards=shards)
    call.__name__ = function.__name__  # type: ignore[attr-defined]
    return call


def main(out: Path, shards: Path) -> None:
    """All runs."""
    group(2, out, *(called(function, shards) for function in (one, three)))
