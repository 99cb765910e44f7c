"""Weights by the path of a file: a part's own, or all parts of a Stable Diffusion."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from original_layout import unet_in_original_layout
from safetensors.torch import load_file, save_file
from torch import Tensor
from weights_on_disk import plain, same

from lightning_artv.errors import CorruptWeightsError, MissingWeightsError
from lightning_artv.networks.pretrained import load_model
from lightning_artv.networks.text_encoder import CLIPTextEncoder
from lightning_artv.networks.unet import PretrainedUNet
from lightning_artv.networks.weight_files import sha256_of


def test_a_weight_file_in_its_folder_stands_for_the_folder(sd_folder: Path, tmp_path: Path) -> None:
    file = sd_folder / "unet" / "diffusion_pytorch_model.safetensors"
    source = PretrainedUNet(str(file))
    assert same(source.build(4), plain(sd_folder, "unet"))
    assert source.config() == PretrainedUNet(str(sd_folder)).config()
    text = CLIPTextEncoder(str(sd_folder / "text_encoder" / "model.safetensors"))
    assert torch.equal(text(["red"]), CLIPTextEncoder(str(sd_folder))(["red"]))
    shutil.copy(file, sd_folder / "unet" / "mine.safetensors")
    with pytest.raises(MissingWeightsError, match=r"mine\.safetensors is not named as"):
        PretrainedUNet(str(sd_folder / "unet" / "mine.safetensors")).build(4)
    (sd_folder / "unet" / "mine.safetensors").unlink()


@pytest.fixture
def single_file(sd_folder: Path, tmp_path: Path) -> Path:
    """All parts in one file, the U-Net and the text encoder in Stable Diffusion's own layout."""
    tensors: dict[str, Tensor] = unet_in_original_layout(plain(sd_folder, "unet").state_dict())
    prefix = "cond_stage_model.transformer.text_model."
    text = plain(sd_folder, "text_encoder").state_dict()
    tensors |= {prefix + name.removeprefix("text_model."): t for name, t in text.items()}
    for part in ("unet", "text_encoder", "tokenizer"):
        shutil.copytree(sd_folder / part, tmp_path / "one" / part)
    for path in (tmp_path / "one").rglob("*.safetensors"):
        path.unlink()
    save_file({k: t.contiguous() for k, t in tensors.items()}, tmp_path / "one/sd.safetensors")
    return tmp_path / "one" / "sd.safetensors"


def test_a_single_file_is_read_as_diffusers_reads_it(sd_folder: Path, single_file: Path) -> None:
    source = PretrainedUNet(str(single_file), sha256=sha256_of(single_file))
    unet = source.build(4)
    assert type(unet) is UNet2DConditionModel and same(unet, plain(sd_folder, "unet"))
    assert source.config() == PretrainedUNet(str(sd_folder)).config()
    text = CLIPTextEncoder(str(single_file))
    assert torch.equal(text(["red"]), CLIPTextEncoder(str(sd_folder))(["red"]))


def test_a_single_file_without_a_part_leaves_nothing_at_random(
    sd_folder: Path, single_file: Path
) -> None:
    shutil.copytree(sd_folder / "vae", single_file.parent / "vae")
    with pytest.raises(CorruptWeightsError, match="holds no AutoencoderKL"):
        load_model(AutoencoderKL, str(single_file), "vae")
    tensors = load_file(single_file)
    del tensors["model.diffusion_model.out.2.weight"]
    save_file(tensors, single_file)
    with pytest.raises(CorruptWeightsError, match=r"lacks 1 tensors .*conv_out\.weight"):
        load_model(UNet2DConditionModel, str(single_file), "unet")


def test_a_single_file_without_settings_takes_them_from_the_hub(
    sd_folder: Path, single_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = shutil.copy(single_file, tmp_path / "alone.safetensors")
    asked = []

    def snapshot_download(hub_id: str, **_: object) -> str:
        asked.append(hub_id)
        return str(sd_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert same(PretrainedUNet(str(alone)).build(4), plain(sd_folder, "unet"))
    assert asked == ["stable-diffusion-v1-5/stable-diffusion-v1-5"]

    def offline(hub_id: str, **_: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(MissingWeightsError, match="put the folder unet of the hub's"):
        PretrainedUNet(str(alone)).build(4)


def test_a_pickled_single_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "v1-5.ckpt").write_bytes(b"pickle")
    with pytest.raises(MissingWeightsError, match="from_single_file") as raised:
        PretrainedUNet(str(tmp_path / "v1-5.ckpt")).build(4)
    assert "v1-5.ckpt" in str(raised.value)
