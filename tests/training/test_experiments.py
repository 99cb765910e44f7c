"""What the experiments switch on: global batch, compiled blocks, recomputation, LoRA, 8 bits."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed_run
import pytest
import torch
import torch.distributed as dist
import yaml
from distributed_run import loader, samples
from flat_artv import build
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from stub_system import StubSystem, make_batch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import KLAutoencoder
from lightning_artv.networks.lora import merge_lora
from lightning_artv.networks.text_encoder import CLIPTextEncoder
from lightning_artv.networks.unet import PretrainedUNet
from lightning_artv.systems.artv import ARTV
from lightning_artv.training import module as module_file
from lightning_artv.training.checkpoint import embedded_config, load_system
from lightning_artv.training.efficiency import (
    accumulation_steps,
    compile_blocks,
    recompute_activations,
)
from lightning_artv.training.ema import EMA
from lightning_artv.training.module import VideoModule
from lightning_artv.training.optim import OptimizerName, adamw

CONFIGS = Path(__file__).parents[2] / "configs"


def trainer(folder: Path, **options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        **options,
    )


# The paper's training


def test_the_papers_training_is_complete() -> None:
    config = yaml.safe_load((CONFIGS / "artv.yaml").read_text())
    model, data = config["model"], config["data"]
    system = model["system"]["init_args"]
    assert (data["size"], data["windows"]["init_args"]["anchor_window"]) == (320, 10)
    assert (model["lr"], model["global_batch_size"]) == (1e-5, 640)
    assert system["denoiser"]["max_noise_level"] == 550
    assert system["training"]["condition_dropout"] == 0.1
    ema = [c for c in config["trainer"]["callbacks"] if c["class_path"].endswith(".EMA")]
    assert ema[0]["init_args"] == {"decay": 0.9999}


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


# Compiled


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


# Recomputed activations


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


# LoRA


def full_size(folder: Path, rank: int | None) -> ARTV:
    """The full-size classes on tiny Stable Diffusion weights."""
    torch.manual_seed(0)
    name = str(folder)
    return build(PretrainedUNet(name, lora_rank=rank), KLAutoencoder(name), CLIPTextEncoder(name))


def test_lora_starts_as_the_trained_unet_and_trains_only_what_it_should(sd_folder: Path) -> None:
    plain, lora = full_size(sd_folder, None), full_size(sd_folder, 2)
    lora.load_state_dict(plain.state_dict(), strict=False)  # the same new parts
    for name, weight in plain.denoiser.dynamic.unet.state_dict().items():
        key = name if name in lora.denoiser.dynamic.unet.state_dict() else None
        if key is None:
            part, _, kind = name.rpartition(".")
            key = f"{part}.base_layer.{kind}"
        assert torch.equal(lora.denoiser.dynamic.unet.state_dict()[key], weight), name
    trainable = lora.trainable_parameters()
    inside = [name for name in trainable if name.startswith("denoiser.dynamic.unet.")]
    assert all(".lora_" in n or "_anchor." in n or "class_embedding" in n for n in inside)
    updates = sum(".lora_A" in name for name in inside)
    assert updates == 4 * sum(
        name.endswith("to_q") for name, _ in plain.denoiser.dynamic.unet.named_modules()
    )
    whole = {n for n in plain.trainable_parameters() if not n.startswith("denoiser.dynamic.unet.")}
    assert whole <= set(trainable), "a new part is frozen"


def opened(system: nn.Module) -> None:
    """LoRA's second factors start at zero; give them something to add."""
    torch.manual_seed(1)
    for name, parameter in system.named_parameters():
        if ".lora_B" in name:
            nn.init.normal_(parameter, std=0.5)


def test_merged_lora_computes_the_same_with_ordinary_layers(sd_folder: Path) -> None:
    lora, plain = full_size(sd_folder, 2).eval(), full_size(sd_folder, None).eval()
    opened(lora)
    unet = lora.denoiser.dynamic.unet
    x, t, text = torch.randn(2, 4, 8, 8), torch.tensor([3, 500]), torch.randn(2, 5, 32)
    inputs = {"class_labels": torch.tensor([0, 100]), "return_dict": False}
    with torch.no_grad():
        before = unet(x, t, text, **inputs)[0]
        merge_lora(lora)
        after = unet(x, t, text, **inputs)[0]
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    assert unet.state_dict().keys() == plain.denoiser.dynamic.unet.state_dict().keys()
    with torch.no_grad():
        unchanged = plain.denoiser.dynamic.unet(x, t, text, **inputs)[0]
    assert (after - unchanged).abs().max() > 1e-3, "there was nothing to merge"


def test_lora_is_in_the_checkpoint_and_its_average_and_merged_when_loaded(
    sd_folder: Path, tmp_path: Path
) -> None:
    name = str(sd_folder)
    parts = {"unet": "unet.PretrainedUNet", "autoencoder": "autoencoder.KLAutoencoder"}
    parts["text_encoder"] = "text_encoder.CLIPTextEncoder"
    arguments: dict[str, Any] = {
        part: {"class_path": f"lightning_artv.networks.{path}", "init_args": {"pretrained": name}}
        for part, path in parts.items()
    }
    arguments["unet"]["init_args"]["lora_rank"] = 2
    system = {"class_path": "lightning_artv.systems.artv.ARTV", "init_args": arguments}
    model, ema = VideoModule(full_size(sd_folder, 2), lr=1e-2), EMA(0.5)
    opened(model.system)
    model.embedded_config = embedded_config({"model": {"system": system}, "data": {}})
    runner = trainer(tmp_path, max_steps=2, callbacks=[ema])
    runner.fit(model, loader(2))
    path = tmp_path / "lora.ckpt"
    runner.save_checkpoint(path)
    stored = torch.load(path, weights_only=True)
    assert not [key for key in stored["state_dict"] if "base_layer" in key]
    key = next(n for n in ema.weights() if ".lora_B" in n)
    assert torch.equal(stored["ema"]["weights"][key], ema.weights()[key])
    assert not torch.equal(stored["state_dict"][f"system.{key}"], ema.weights()[key])
    loaded = load_system(path)
    assert not [n for n in loaded.state_dict() if "lora" in n or "base_layer" in n]
    with ema.applied(model):
        merge_lora(model.system)  # the averaged updates
        for key, weight in loaded.state_dict().items():
            torch.testing.assert_close(model.system.state_dict()[key], weight, msg=key)


def test_an_impossible_rank_is_refused(sd_folder: Path) -> None:
    with pytest.raises(UserError, match="lora_rank must be at least 1"):
        PretrainedUNet(str(sd_folder), lora_rank=0).build(4)


# 8 bits


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
