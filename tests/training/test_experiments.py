"""What the experiments switch on: the paper's numbers, the global batch, 8 bits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import distributed_run
import pytest
import torch
import torch.distributed as dist
import yaml
from bare_trainer import trainer
from distributed_run import loader
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader

from lightning_artv.batch import VideoBatch
from lightning_artv.errors import UserError
from lightning_artv.training.bounds import accumulation_steps
from lightning_artv.training.module import VideoModule
from lightning_artv.training.optim import OptimizerName, adamw

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_papers_training_is_complete() -> None:
    config = yaml.safe_load((CONFIGS / "artv" / "train.yaml").read_text())
    model, data = config["model"], config["data"]
    system = model["system"]["init_args"]
    assert (data["size"], data["windows"]["init_args"]["anchor_window"]) == (320, 10)
    assert (model["lr"], model["global_batch_size"]) == (1e-5, 640)
    assert system["denoiser"]["max_noise_level"] == 550
    assert system["training"]["condition_dropout"] == 0.1
    assert config["trainer"]["callbacks"]["ema"]["init_args"] == {"decay": 0.9999}


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 64))
def test_accumulation_makes_the_global_batch(devices: int, batch: int, steps: int) -> None:
    assert accumulation_steps(devices * batch * steps, devices, batch) == steps


@given(st.integers(1, 5000), st.integers(1, 64), st.integers(1, 64))
def test_a_global_batch_that_does_not_divide_is_refused(
    global_batch: int, devices: int, batch: int
) -> None:
    if global_batch % (devices * batch) == 0:
        assert accumulation_steps(global_batch, devices, batch) >= 1
        return
    with pytest.raises(UserError, match=rf"global_batch_size {global_batch} is not a multiple"):
        accumulation_steps(global_batch, devices, batch)


class _Data(LightningDataModule):
    """Six batches of 8."""

    batch_size = 8

    def train_dataloader(self) -> DataLoader[VideoBatch]:
        return loader(6)


def test_the_trainer_accumulates_to_the_global_batch(tmp_path: Path) -> None:
    model = VideoModule(distributed_run.system(), global_batch_size=24)
    runner = trainer(tmp_path, max_epochs=1)
    runner.fit(model, datamodule=_Data())
    assert (runner.accumulate_grad_batches, runner.global_step) == (3, 2)


def test_without_bitsandbytes_8_bits_are_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    system = distributed_run.system()
    with pytest.raises(UserError, match=r"needs bitsandbytes: pip install 'lightning-artv\[low"):
        adamw(system, system.trainable_parameters(), 1e-3, 0.0, (0.9, 0.999), "adamw8bit")


def test_8_bits_of_sharded_parameters_are_refused(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        weight = nn.Parameter(distribute_tensor(torch.zeros(4, 4), mesh, [Shard(0)]))
        with pytest.raises(UserError, match="does not shard"):
            adamw(nn.Module(), {"w": weight}, 1e-3, 0.0, (0.9, 0.999), "adamw8bit")
    finally:
        dist.destroy_process_group()


def regression(kind: OptimizerName, steps: int, state: Any = None) -> tuple[list[float], Any]:
    """Losses of a linear regression, and the optimiser's state."""
    torch.manual_seed(0)
    layer, x, y = nn.Linear(128, 64), torch.randn(32, 128), torch.randn(32, 64)
    optimizer = adamw(layer, dict(layer.named_parameters()), 1e-2, 0.0, (0.9, 0.999), kind)
    if state is not None:
        optimizer.load_state_dict(state)
    losses = []
    for _ in range(steps):
        loss = (layer(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, optimizer.state_dict()


def test_8_bits_train_like_32_and_are_restored(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes (extra lowmem) is not installed")
    full, _ = regression("adamw", 20)
    small, state = regression("adamw8bit", 20)
    assert small == pytest.approx(full, rel=0.02)
    assert full[-1] < 0.7 * full[0]
    kinds = {leaf.dtype for leaf in tree_leaves(state) if isinstance(leaf, Tensor)}
    assert torch.uint8 in kinds
    torch.save(state, tmp_path / "state.ckpt")
    stored = torch.load(tmp_path / "state.ckpt", weights_only=True)
    warm, _ = regression("adamw8bit", 3, stored)
    assert warm != pytest.approx(small[:3], rel=1e-3), "the moments were not restored"
    assert warm[0] == small[0]
