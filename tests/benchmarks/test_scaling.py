"""The cost model against counted bytes, a real checkpoint, and the document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from lightning.pytorch import Trainer
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader

from benchmarks import scaling_tables
from benchmarks.counters import batch, generators
from benchmarks.documents import filled, tables_of
from benchmarks.full_size import SMALL, build
from benchmarks.recipes import Recipe
from benchmarks.scaling import (
    FAST,
    FORWARD_BACKWARD,
    SLOW,
    Split,
    ddp_bytes,
    ddp_exposed,
    fsdp_bytes,
    fsdp_exposed,
    measured_seconds,
    passes,
    read_seconds,
    split,
    state_bytes,
    step_seconds,
    video_bytes,
    write_seconds,
)
from lightning_artv.checkpoints.file import read_checkpoint
from lightning_artv.checkpoints.sharding import shard
from lightning_artv.training.ema import EMA
from lightning_artv.training.module import VideoModule

RECIPE = Recipe(
    trained=10**9,
    frozen=0,
    sample_flops=3 * 10**12,
    backward_flops=2 * 10**12,
    frame_bytes=25600,
    frames=4,
    fps=8,
    batch=640,
    steps=1000,
)


class Sent(TorchDispatchMode):
    """Counts what collective calls deliver or take, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
            name = func._schema.name.removeprefix("c10d::")
            self.bytes[name] += max(x.numel() * x.element_size() for x in tensors)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def ranks() -> Iterator[int]:
    """One process that takes itself for the first of eight."""
    torch.distributed.init_process_group("fake", rank=0, world_size=8, store=FakeStore())
    yield 8
    torch.distributed.destroy_process_group()


def test_fsdp_sends_what_the_model_says(ranks: int) -> None:
    system, samples = build(SMALL, "cpu").train(), batch(SMALL, 1)
    trained = sum(p.numel() for p in system.trainable_parameters().values())
    mesh = init_device_mesh("cpu", (ranks,), mesh_dim_names=("data_parallel",))
    shard(system, mesh["data_parallel"], torch.bfloat16)
    with Sent() as sent, torch.autocast("cpu", torch.bfloat16):
        system.loss(samples, generators(samples, 0)).loss.backward()
    assert sent.bytes.keys() == {"_allgather_base_", "_reduce_scatter_base_"}
    whole = sum(sent.bytes.values())  # each rank sends all but its own part of it
    assert fsdp_bytes(trained, ranks) == pytest.approx(whole * (ranks - 1) / ranks, rel=0.01)
    assert sent.bytes["_allgather_base_"] == pytest.approx(4 * trained, rel=0.01)


def test_a_checkpoint_is_as_large_as_the_model_says(tmp_path: Path) -> None:
    system = build(SMALL, "cpu")
    trained = sum(p.numel() for p in system.trainable_parameters().values())
    trainer = Trainer(
        accelerator="cpu",
        max_steps=1,
        callbacks=[EMA(0.9)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(VideoModule(system), DataLoader([batch(SMALL, 1)], batch_size=None))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    stored = tree_leaves(read_checkpoint(tmp_path / "a.ckpt"))
    size = sum(x.numel() * x.element_size() for x in stored if isinstance(x, Tensor))
    assert state_bytes(replace(RECIPE, trained=trained)) == pytest.approx(size, rel=0.01)


def test_batches_are_divided() -> None:
    assert split(640, 1) == Split(1, 10, 64)
    assert split(640, 4) == Split(4, 4, 40)
    assert split(640, 64) == Split(64, 1, 10)
    assert split(640, 512) == Split(512, 1, 2) and split(640, 512).batch == 1024
    for gpus in range(1, 600):
        way = split(640, gpus)
        assert way.samples <= 64 and 640 <= way.batch < 640 + gpus


def test_a_step_by_hand() -> None:
    way = Split(16, 2, 64)
    t = FORWARD_BACKWARD[-1]
    assert measured_seconds(64) == t and measured_seconds(1) == FORWARD_BACKWARD[0]
    assert measured_seconds(48) == pytest.approx((FORWARD_BACKWARD[2] + t) / 2)
    assert step_seconds(RECIPE, FAST, way) == pytest.approx(2 * t + 0.076)  # 7.5 GB at 320 GB/s
    sent = 2 * 15 / 16 * 4e9 / (0.8 * 12.5e9)
    assert ddp_exposed(RECIPE, SLOW, way) == pytest.approx(sent - t * 2 / 3)
    assert fsdp_exposed(RECIPE, SLOW, way) == pytest.approx(2 * (sent - t))
    assert step_seconds(RECIPE, SLOW, way) == pytest.approx(2 * t + 0.076 + sent - t * 2 / 3)
    assert ddp_bytes(RECIPE.trained, 1) == fsdp_bytes(RECIPE.trained, 1) == 0
    assert ddp_exposed(RECIPE, SLOW, Split(8, 1, 8)) == 0  # within a machine


def test_storage_and_checkpoints_by_hand() -> None:
    assert passes(RECIPE) == 0.128
    assert video_bytes() == pytest.approx(5e6 * 17.5 * 90.6e3)
    assert state_bytes(RECIPE) == 16e9
    assert write_seconds(RECIPE, FAST, 64, sharded=False) == 8.0
    assert write_seconds(RECIPE, FAST, 64, sharded=True) == 1.0  # 8 machines
    assert write_seconds(RECIPE, FAST, 512, sharded=True) == 0.8  # the storage's limit
    assert read_seconds(RECIPE, FAST, 64) == 6.4


def test_the_document_s_tables_are_the_command_s() -> None:
    assert tables_of(scaling_tables.DOCUMENT.read_text()) == {
        name: table.strip() + "\n" for name, table in scaling_tables.tables().items()
    }


def test_places_in_documents() -> None:
    text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n<!-- y-1 -->\n<!-- /y-1 -->\n"
    made = filled(text, {"x": "\nnew \\1\n", "y-1": "z"})
    assert made == text.replace("old", "new \\1").replace("<!-- /y", "z\n<!-- /y")
    assert tables_of(made) == {"x": "new \\1\n", "y-1": "z\n"}
    with pytest.raises(KeyError, match="no place <!-- w -->"):
        filled(text, {"w": ""})
