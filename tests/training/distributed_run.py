"""A short training run that is the same on any number of ranks.

`main(out)`, in a process without threads, trains on 2 ranks with DDP, on 2 with FSDP2, and resumes
the latter on 4, from its folder and from a file. Each run writes what it saw as OUT/NAME.pt. The
ranks are forked, because importing everything takes seconds.
"""

from __future__ import annotations

import errno
import faulthandler
import multiprocessing
import os
import socket
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from flat_artv import build
from frame_batch import frame_batch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, Dataset

from lightning_artv.batch import VideoBatch
from lightning_artv.checkpoints import sharded as sharded_checkpoint
from lightning_artv.checkpoints.file import read_checkpoint
from lightning_artv.checkpoints.sharding import local
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import PixelUnshuffleAutoencoder
from lightning_artv.networks.text_encoder import ByteTextEncoder
from lightning_artv.networks.unet import SmallUNet
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.masking import StaticNoise
from lightning_artv.training.atomic_io import AtomicCheckpointIO
from lightning_artv.training.ema import EMA
from lightning_artv.training.fsdp import FSDP2
from lightning_artv.training.module import VideoModule
from lightning_artv.training.samples import SampleLogger

STEPS, SAVE_AT, GLOBAL_BATCH, DECAY = 20, 10, 8, 0.9
LIMIT = 500
"""Seconds after which a rank gives up."""
VALIDATION = (3, 2, 2, 2)
"""Validation batches of each rank: uneven."""


def system(static_noise: StaticNoise = "posterior") -> ARTV:
    """A tiny system whose shapes do not divide by 2 or 4 (257 bytes, 5 words, a mask of 1)."""
    torch.manual_seed(0)
    return build(
        SmallUNet((12,), heads=1, text_width=12, norm_groups=4),
        PixelUnshuffleAutoencoder(2),
        ByteTextEncoder(12, max_words=5),
        static_noise=static_noise,
    )


def module() -> VideoModule:
    return VideoModule(system(), lr=1e-3, warmup_steps=4)


def samples(start: int, count: int) -> VideoBatch:
    """`count` samples of 8x8 pixels; each depends on its own number alone."""
    pixels = torch.stack(
        [
            torch.randint(0, 256, (4, 3, 8, 8), generator=torch.Generator().manual_seed(i))
            for i in range(start, start + count)
        ]
    ).to(torch.uint8)
    names = [f"sample{i}" for i in range(start, start + count)]
    captions = [f"caption {i}" for i in range(start, start + count)]
    return frame_batch(pixels, captions, names)


class Slices(Dataset[VideoBatch]):
    """This rank's part of each global batch."""

    def __init__(self, batches: int, rank: int, ranks: int, start: int = 0) -> None:
        self.batches, self.rank, self.size = batches, rank, GLOBAL_BATCH // ranks
        self.start = start

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> VideoBatch:
        return samples(self.start + index * GLOBAL_BATCH + self.rank * self.size, self.size)


def loader(batches: int, start: int = 0) -> DataLoader[VideoBatch]:
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    return DataLoader(Slices(batches, rank, ranks, start), batch_size=None, num_workers=0)


def mean_over_ranks(value: Tensor) -> float:
    value = value.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return float(value)


class Recorder(Callback):
    """Losses, gradient norms and, step by step, an EMA of the gathered whole weights."""

    def __init__(self, ema: EMA, save: Path | None = None, check_ema: bool = False) -> None:
        self.ema, self.save, self.check_ema = ema, save, check_ema
        self.losses: list[float] = []
        self.shown: list[float] = []
        self.norms: list[float] = []
        self.validation: list[float] = []
        self.reference: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.check_ema:
            self.reference = {n: w.clone() for n, w in whole_weights(pl_module).items()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(mean_over_ranks(outputs["loss"]))
        self.shown.append(float(trainer.callback_metrics["train/loss"]))
        self.norms.append(float(trainer.callback_metrics["train/gradient_norm"]))
        if self.check_ema:
            weights = whole_weights(pl_module)
            average = [self.reference[name] for name in weights]
            torch._foreach_lerp_(average, list(weights.values()), 1.0 - DECAY)
        if self.save is not None and trainer.global_step == SAVE_AT:
            trainer.save_checkpoint(self.save)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validation.append(float(trainer.callback_metrics["val/loss"]))

    def result(self, pl_module: LightningModule) -> dict[str, Any]:
        averages = whole(self.ema.weights())
        return {
            "losses": self.losses,
            "shown": self.shown,
            "norms": self.norms,
            "validation": self.validation,
            "weights": whole_weights(pl_module),
            "ema": averages,
            "reference": self.reference,
        }


def whole_weights(pl_module: LightningModule) -> dict[str, Tensor]:
    assert isinstance(pl_module, VideoModule)
    return whole(pl_module.system.trainable_parameters())


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors put together from all ranks' parts, which are cut along the first axis."""
    if not any(isinstance(tensor, DTensor) for tensor in tensors.values()):
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}
    parts = {name: local(tensor) for name, tensor in tensors.items()}
    # one tensor a rank: pickling hundreds of them each step takes longer than the step
    flat = torch.cat([part.flatten() for part in parts.values()])
    ranks: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(ranks, (flat, [part.shape for part in parts.values()]))
    pieces = [
        [p.view(s) for p, s in zip(values.split([s.numel() for s in shapes]), shapes, strict=True)]
        for values, shapes in ranks
    ]
    return {name: torch.cat(rows) for name, *rows in zip(parts, *pieces, strict=True)}


def run(
    folder: Path,
    strategy: Any = "auto",
    devices: int = 1,
    save: Path | None = None,
    resume: Path | None = None,
    check_ema: bool = False,
    validate: bool = False,
    steps: int = STEPS,
    **options: Any,
) -> dict[str, Any]:
    """Train for `steps` steps and return what was seen."""
    torch.manual_seed(0)
    model, ema = module(), EMA(decay=DECAY)
    recorder = Recorder(ema, save, check_ema)
    callbacks: list[Callback] = [ema, recorder]
    settings: dict[str, Any] = {"logger": False}
    if validate:
        callbacks.append(
            SampleLogger(every_n_steps=SAVE_AT, clips=0, frames=2, prompts=["a"], steps=2)
        )
        settings = {"logger": TensorBoardLogger(folder, name="", version="")}
        settings |= {"val_check_interval": SAVE_AT, "check_val_every_n_epoch": None}
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy=strategy,
        max_steps=steps,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
        gradient_clip_val=0.1,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        **settings,
        **options,
    )
    rank = int(os.environ.get("RANK", 0))
    held_out = loader(VALIDATION[rank], start=10_000) if validate else None
    done = SAVE_AT * GLOBAL_BATCH if resume is not None else 0  # this loader cannot resume itself
    trainer.fit(model, loader(STEPS, done), held_out, ckpt_path=resume, weights_only=True)
    return recorder.result(model)


def ddp(out: Path) -> dict[str, Any]:
    return run(out / "ddp", "ddp", dist_size())


def fsdp(out: Path) -> dict[str, Any]:
    save = out / "sharded.ckpt"
    return run(out / "fsdp", FSDP2(), dist_size(), save=save, check_ema=True, validate=True)


def resumed(out: Path) -> dict[str, Any]:
    return run(out, FSDP2(), dist_size(), resume=out / "sharded.ckpt", steps=SAVE_AT + 2)


def from_file(out: Path) -> dict[str, Any]:
    path = out / "file.ckpt"
    if dist.get_rank() == 0:
        torch.save(read_checkpoint(out / "sharded.ckpt"), path)
    dist.barrier()
    return run(out, FSDP2(), dist_size(), resume=path, steps=SAVE_AT + 1)


def refused(out: Path) -> dict[str, Any]:
    """What each rank is told when the disk of rank 0 is full."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    written, sharded_checkpoint.save_file = sharded_checkpoint.save_file, full
    told = ""
    try:
        sharded_checkpoint.write({"state_dict": {"x": torch.ones(4)}}, out / "full.ckpt")
    except UserError as error:
        told = str(error)
    sharded_checkpoint.save_file = written
    ranks: list[Any] = [None] * dist_size()
    dist.all_gather_object(ranks, told)
    return {"told": ranks}


def dist_size() -> int:
    return int(os.environ["WORLD_SIZE"])


def work(rank: int, ranks: int, port: int, out: Path, runs: Sequence[Callable[..., Any]]) -> None:
    """What one process of a group does."""
    faulthandler.dump_traceback_later(LIMIT, exit=True)  # a hang shows where
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
    names |= {"GROUP_RANK": 0, "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}
    names |= {"TORCHELASTIC_RUN_ID": "test"}
    os.environ.update({name: str(value) for name, value in names.items()})
    for function in runs:
        result = function(out)
        if rank == 0:
            torch.save(result, out / f"{function.__name__}.pt")
        dist.barrier()
    dist.destroy_process_group()


def group(ranks: int, out: Path, *runs: Callable[..., Any]) -> None:
    """Fork `ranks` processes, which run `runs` together.

    Raises:
        SystemExit: one of them failed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    processes = [
        fork.Process(target=work, args=(rank, ranks, port, out, runs)) for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        sys.exit(f"exit codes {[process.exitcode for process in processes]}")


def main(out: Path) -> None:
    """All runs."""
    group(2, out, ddp, fsdp, refused)
    group(4, out, resumed, from_file)
