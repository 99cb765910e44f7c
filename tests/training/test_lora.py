"""LoRA on a trained U-Net: what trains, what is stored, what is merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from bare_trainer import trainer
from distributed_run import loader
from flat_artv import full_size
from torch import nn

from lightning_artv.checkpoints.file import embedded_config, load_system, take_weights
from lightning_artv.errors import UserError
from lightning_artv.networks.lora import merge_lora
from lightning_artv.networks.unet import PretrainedUNet
from lightning_artv.systems.artv import ARTV
from lightning_artv.training.ema import EMA
from lightning_artv.training.module import VideoModule


def seeded(folder: Path, rank: int | None) -> ARTV:
    """Both start with the same new parts."""
    torch.manual_seed(0)
    return full_size(folder, rank)


def test_lora_starts_as_the_trained_unet_and_trains_only_what_it_should(sd_folder: Path) -> None:
    plain, lora = seeded(sd_folder, None), seeded(sd_folder, 2)
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
    lora, plain = seeded(sd_folder, 2).eval(), seeded(sd_folder, None).eval()
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
    model, ema = VideoModule(seeded(sd_folder, 2), lr=1e-2), EMA(0.5)
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


@torch.no_grad()
def test_trained_weights_that_would_be_lost_are_refused(sd_folder: Path) -> None:
    def start(rank: int | None, stored: dict[str, torch.Tensor]) -> str:
        return take_weights(seeded(sd_folder, rank), stored, "other.ckpt")

    whole, lora = seeded(sd_folder, None), seeded(sd_folder, 2)
    updates = dict(lora.trainable_parameters())
    assert "Starting from" in start(2, updates)
    for rank, stored in ((None, updates), (4, updates)):
        with pytest.raises(UserError, match="lightning export"):
            start(rank, stored)
    weights = dict(whole.trainable_parameters())
    assert "Starting from" in start(2, weights)  # the U-Net's are those of the folder still
    for changed in ("to_q.weight", "conv1.weight"):  # one with updates, one without
        name = next(n for n in weights if "dynamic.unet" in n and n.endswith(changed))
        with pytest.raises(UserError, match=r"trained weights in denoiser\.dynamic that"):
            start(2, {**weights, name: weights[name] + 1e-3})
