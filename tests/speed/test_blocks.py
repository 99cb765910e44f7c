"""Compiled and recomputed blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed_run
import pytest
import torch
from bare_trainer import trainer
from distributed_run import loader, samples
from lightning.pytorch import Callback, LightningModule, Trainer
from stub_system import StubSystem, make_batch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError
from lightning_artv.speed.blocks import (
    compile_blocks,
    recompute_activations,
)
from lightning_artv.systems.artv import ARTV
from lightning_artv.training import module as module_file
from lightning_artv.training.ema import EMA
from lightning_artv.training.module import VideoModule


class _Graphs(Callback):
    """How many graphs there are after each step."""

    def __init__(self) -> None:
        self.graphs: list[int] = []
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.graphs.append(counters["stats"]["unique_graphs"])
        self.losses.append(float(outputs["loss"]))


def fit_with(folder: Path, **options: Any) -> tuple[VideoModule, _Graphs, Trainer]:
    """Eight steps with a validation under EMA weights every second one."""
    system = distributed_run.system(static_noise="none")  # one U-Net: half as long to compile
    model, seen = VideoModule(system, lr=1e-3, **options), _Graphs()
    settings = {"val_check_interval": 2, "check_val_every_n_epoch": None, "max_steps": 8}
    runner = trainer(folder, callbacks=[EMA(0.9), seen], **settings)
    runner.fit(model, loader(8), loader(1, start=900))
    return model, seen, runner


@pytest.fixture
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()
    counters.clear()


@pytest.mark.usefixtures("fresh_dynamo")
def test_compiled_blocks_neither_break_nor_recompile_after_step_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, eager, _ = fit_with(tmp_path)
    assert eager.graphs[-1] == 0
    monkeypatch.setattr(  # inductor compiles for a minute; what it is given is the same
        module_file, "compile_blocks", lambda system: compile_blocks(system, "eager")
    )
    _, compiled, runner = fit_with(tmp_path, compile=True)
    assert not counters["graph_break"]
    assert compiled.graphs[2] > 0
    assert set(compiled.graphs[2:]) == {compiled.graphs[2]}
    assert compiled.losses == pytest.approx(eager.losses, abs=1e-5)
    runner.save_checkpoint(tmp_path / "a.ckpt")
    stored = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    plain = distributed_run.system(static_noise="none").state_dict()
    assert set(stored) == {f"system.{name}" for name in plain}


@pytest.mark.usefixtures("fresh_dynamo")
def test_a_graph_break_is_an_error() -> None:
    system = distributed_run.system()
    block = system.denoiser.dynamic.unet.mid_block
    inner = block.forward

    def printing(*args: Any, **options: Any) -> Tensor:
        torch._dynamo.graph_break()
        result: Tensor = inner(*args, **options)
        return result

    block.forward = printing
    compile_blocks(system, "eager")
    batch = samples(0, 2)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        system.loss(batch, generators_for(0, batch.keys))


def saved_and_gradients(system: ARTV) -> tuple[int, dict[str, Tensor]]:
    """Numbers kept for the backward pass, and the gradients."""
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    batch = samples(0, 2)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = system.loss(batch, generators_for(0, batch.keys)).loss
    loss.backward()
    gradients = {n: p.grad for n, p in system.named_parameters() if p.grad is not None}
    return kept, gradients


def test_recomputation_keeps_less_and_changes_no_gradient() -> None:
    plain, recomputed = distributed_run.system(), distributed_run.system()
    recompute_activations(recomputed)
    kept, gradients = saved_and_gradients(plain)
    kept_less, again = saved_and_gradients(recomputed)
    assert kept_less < 0.7 * kept
    assert gradients.keys() == again.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(again[name], gradient, msg=name)


def test_recomputation_and_compilation_of_a_system_without_blocks_are_refused() -> None:
    for option in ("gradient_checkpointing", "compile"):
        with pytest.raises(UserError, match=rf"model\.{option} .* StubSystem has none"):
            model = VideoModule(StubSystem(), **{option: True})
            model.configure_model()


class TwoLayers(StubSystem):
    """Its layers are blocks without diffusers' switches."""

    def blocks(self) -> list[nn.Module]:
        return [self.net]


def test_any_block_is_recomputed() -> None:
    calls, gradients = [], []
    for recompute in (False, True):
        torch.manual_seed(0)
        system = TwoLayers()
        system.net[0].register_forward_hook(lambda *_, seen=calls: seen.append(1))
        if recompute:
            recompute_activations(system)
        batch = make_batch()
        system.loss(batch, generators_for(0, batch.keys)).loss.backward()
        gradients.append(system.net[0].weight.grad)
    assert len(calls) == 3  # once, then forward and again in the backward pass
    assert torch.equal(*gradients)


def test_blocks_are_both_networks_and_compiled() -> None:
    system = distributed_run.system()
    networks = (system.denoiser.dynamic.unet, system.denoiser.mask.unet)
    expected = [b for n in networks for b in (*n.down_blocks, n.mid_block, *n.up_blocks)]
    assert system.blocks() == expected
    compile_blocks(system, "eager")
    assert all(hasattr(b.forward, "_torchdynamo_orig_callable") for b in expected)
