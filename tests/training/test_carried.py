"""What a system carries from batch to batch is in checkpoints, as at a step's start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from forks import ended
from lightning.pytorch import Callback, LightningModule, Trainer
from stub_system import StubSystem, loader

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import Generators
from lightning_artv.systems.base import LossOutput
from lightning_artv.training.module import VideoModule
from lightning_artv.training.resume import CARRIED_KEY, of_all_ranks, of_this_rank


class Counting(StubSystem):
    """Carries how many batches it has seen."""

    count = 0

    def loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        self.count += 1
        return super().loss(batch, generators)

    def carried(self) -> dict[str, Any]:
        return {"count": self.count}

    def carry(self, state: Mapping[str, Any]) -> None:
        self.count = state.get("count", 0)


class Keep(Callback):
    """What a checkpoint after each batch would hold."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.kept.append(trainer._checkpoint_connector.dump_checkpoint()[CARRIED_KEY])


def test_between_micro_batches_it_is_what_the_step_began_with(tmp_path: Path) -> None:
    keep = Keep()
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        max_steps=2,
        accumulate_grad_batches=3,
        callbacks=[keep],
    )
    trainer.fit(VideoModule(Counting()), loader(6))
    assert keep.kept == [[{"count": n}] for n in (0, 0, 3, 3, 3, 6)]


def test_a_rank_goes_on_with_its_own(recwarn: pytest.WarningsRecorder) -> None:
    ranks: Any = SimpleNamespace(world_size=2, global_rank=1)
    assert of_this_rank([{"count": 5}, {"count": 6}], ranks) == {"count": 6}
    assert of_this_rank([], ranks) == {} and not recwarn
    with pytest.warns(UserWarning, match="is of 1 devices and this run has 2: windows in flight"):
        assert of_this_rank([{"count": 5}], ranks) == {}


def _gather(rank: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    gathered = of_all_ranks({"latents": torch.full((2,), float(rank)), "keys": [f"k{rank}"]}, 2)
    torch.save(gathered, f"{folder}/{rank}")
    torch.distributed.destroy_process_group()


def _ranks(folder: str) -> None:
    torch.multiprocessing.start_processes(_gather, (folder,), nprocs=2, start_method="fork")


def test_all_ranks_parts_are_in_the_order_of_ranks(tmp_path: Path) -> None:
    done = ended(tmp_path / "log", _ranks, str(tmp_path))
    assert done.code == 0, done.said
    for rank in range(2):
        gathered = torch.load(tmp_path / str(rank), weights_only=True)
        assert [part["keys"] for part in gathered] == [["k0"], ["k1"]]
        assert [part["latents"].tolist() for part in gathered] == [[0.0, 0.0], [1.0, 1.0]]
