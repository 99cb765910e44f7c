"""Weights as people have them in folders: variants, shards, pickles, damage, odd settings."""

from __future__ import annotations

import hashlib
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from weights_on_disk import EVERY_PART, LAYOUTS, PARTS, emptied, plain, same, save

from lightning_artv.errors import CorruptWeightsError, MissingWeightsError, UserError
from lightning_artv.generation.first_frame import FirstFrameModel
from lightning_artv.networks.pretrained import load_config, load_model
from lightning_artv.networks.unet import PretrainedUNet
from lightning_artv.networks.weight_files import sha256_of


@EVERY_PART
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_the_libraries_write_is_found_and_loads_in_float32(
    sd_folder: Path, tmp_path: Path, part: str, layout: str
) -> None:
    reference = plain(sd_folder, part)
    model, half = plain(sd_folder, part), "fp16" in layout
    folder = emptied(sd_folder, part, tmp_path) / part
    save(model.half() if half else model, folder, layout)
    files = list((tmp_path / part).glob("*.safetensors"))
    assert (len(files) > 1) == ("shards" in layout)
    assert same(load_model(PARTS[part][0], str(tmp_path), part), reference, half)


@EVERY_PART
def test_of_plain_weights_and_variants_the_plain_ones_are_taken_unless_asked(
    sd_folder: Path, tmp_path: Path, part: str
) -> None:
    shutil.copytree(sd_folder / part, tmp_path / part)
    other = plain(sd_folder, part)
    for parameter in other.parameters():
        parameter.data.add_(1)
    other.save_pretrained(tmp_path / part, variant="non_ema")
    cls, stem = PARTS[part]
    digest = sha256_of(tmp_path / part / f"{stem}.safetensors")
    assert same(load_model(cls, str(tmp_path), part, sha256=digest), plain(sd_folder, part))
    assert same(load_model(cls, str(tmp_path), part, variant="non_ema"), other)
    with pytest.raises(MissingWeightsError, match=rf"no {stem}\.fp16\.safetensors; .*non_ema"):
        load_model(cls, str(tmp_path), part, variant="fp16")
    (tmp_path / part / f"{stem}.safetensors").rename(tmp_path / part / f"{stem}.bf16.safetensors")
    with pytest.raises(MissingWeightsError, match="variants bf16, non_ema: choose one"):
        load_model(cls, str(tmp_path), part)


def spoilt(folder: Path, how: str) -> None:
    """Make a U-Net's folder of two or more shards unusable in one way."""
    shard = min(folder.glob("*.safetensors"))
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    if how == "no index":
        index.unlink()
    elif how == "bad index":
        index.write_text("{")
    elif how == "no shard":
        shard.unlink()
    elif how == "cut shard":
        shard.write_bytes(shard.read_bytes()[:-7])
    elif how == "pointer":
        shard.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n")
    elif how == "other name":
        for path in folder.glob("diffusion*"):
            path.unlink()
        (folder / "unet.safetensors").write_bytes(b"")
    elif how == "no config":
        (folder / "config.json").unlink()
    elif how == "bad config":
        (folder / "config.json").write_text("{")
    elif how == "fewer tensors":
        tensors = load_file(shard)
        tensors.pop(min(tensors))
        save_file(tensors, shard, {"format": "pt"})


SPOILT = {
    "no index": (3, r"safetensors\.index\.json, which lists the shards"),
    "bad index": (4, r"index\.json is no index"),
    "no shard": (3, r"-00001-of-\d+\.safetensors is missing, one of \d+ files"),
    "cut shard": (4, r"-00001-of-\d+\.safetensors is damaged"),
    "pointer": (3, "git lfs pull"),
    "other name": (3, r"no diffusion_pytorch_model\.safetensors; it holds .*unet\.safetensors"),
    "no config": (3, r"unet has no config\.json"),
    "bad config": (4, r"unet cannot be loaded"),
    "fewer tensors": (4, r"lacks 1 tensors of the model, such as"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_missing_is_3_and_damaged_is_4_and_both_name_the_file(
    sd_folder: Path, tmp_path: Path, how: str
) -> None:
    folder = emptied(sd_folder, "unet", tmp_path) / "unet"
    plain(sd_folder, "unet").save_pretrained(folder, max_shard_size="2MB")
    spoilt(folder, how)
    code, words = SPOILT[how]
    with pytest.raises(UserError, match=words) as raised:
        PretrainedUNet(str(tmp_path)).build(4)
    assert raised.value.exit_code == code and "\n" not in str(raised.value)


def test_a_file_that_may_not_be_read_is_not_called_damaged(
    sd_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def forbidden(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.suffix == ".safetensors":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(MissingWeightsError, match=r"cannot be read \(Permission denied\)"):
        load_model(UNet2DConditionModel, str(sd_folder), "unet")


@EVERY_PART
@pytest.mark.parametrize("variant", [None, "fp16"])
def test_a_folder_of_pickles_is_told_how_to_convert_and_the_advice_works(
    sd_folder: Path, tmp_path: Path, part: str, variant: str | None
) -> None:
    folder = emptied(sd_folder, part, tmp_path) / part
    name = "pytorch_model" if part == "text_encoder" else "diffusion_pytorch_model"
    path = folder / f"{name}{f'.{variant}' if variant else ''}.bin"
    torch.save(plain(sd_folder, part).state_dict(), path)
    with pytest.raises(MissingWeightsError, match="may hold code and is not read") as raised:
        load_model(PARTS[part][0], str(tmp_path), part)
    command = shlex.split(str(raised.value).split("`")[1])
    assert command[:2] == ["python", "-c"] and path.name in str(raised.value)
    exec(command[2], {})
    assert same(load_model(PARTS[part][0], str(tmp_path), part), plain(sd_folder, part))


def test_the_digest_of_shards_is_that_of_their_list(sd_folder: Path, tmp_path: Path) -> None:
    folder = emptied(sd_folder, "unet", tmp_path) / "unet"
    plain(sd_folder, "unet").save_pretrained(folder, max_shard_size="2MB")
    lines = [f"{sha256_of(p)}  {p.name}\n" for p in sorted(folder.glob("*.safetensors"))]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert len(lines) > 1
    PretrainedUNet(str(tmp_path), sha256=digest.upper()).build(4)
    with pytest.raises(CorruptWeightsError, match=rf"sha256 {digest}, expected 0000") as raised:
        PretrainedUNet(str(tmp_path), sha256="0" * 64).build(4)
    assert f"{len(lines)} shards" in str(raised.value)


def test_the_config_has_sentences_of_its_own(sd_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    with pytest.raises(MissingWeightsError, match=r"no config\.json"):
        load_config(UNet2DConditionModel, str(tmp_path), "unet")
    (tmp_path / "unet" / "config.json").write_text("{")
    with pytest.raises(CorruptWeightsError, match=r"config\.json cannot be read"):
        load_config(UNet2DConditionModel, str(tmp_path), "unet")


def test_a_first_frame_model_of_a_variant_loads_and_damage_is_4(
    sd_folder: Path, tmp_path: Path
) -> None:
    StableDiffusionPipeline.from_pretrained(sd_folder).save_pretrained(tmp_path, variant="fp16")
    assert not list(tmp_path.rglob("diffusion_pytorch_model.safetensors"))
    model = FirstFrameModel(str(tmp_path), torch.device("cpu"))
    assert same(model._pipeline.unet, plain(sd_folder, "unet"))
    damaged = tmp_path / "vae" / "diffusion_pytorch_model.fp16.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(CorruptWeightsError, match=r"fp16\.safetensors is damaged"):
        FirstFrameModel(str(tmp_path), torch.device("cpu"))


@pytest.mark.parametrize(
    "content",
    ["[]", "3", '{"block_out_channels": "x"}', '{"block_out_channels": []}', "[" * 99_999],
)
def test_odd_settings_are_one_sentence(sd_folder: Path, tmp_path: Path, content: str) -> None:
    shutil.copytree(sd_folder / "unet", tmp_path / "unet")
    (tmp_path / "unet" / "config.json").write_text(content)
    with pytest.raises(CorruptWeightsError, match=r"unet.*download it again") as error:
        load_model(UNet2DConditionModel, str(tmp_path), "unet")
    assert "\n" not in str(error.value)
    if not content.startswith("{"):
        with pytest.raises(CorruptWeightsError, match=r"config\.json cannot be read"):
            load_config(UNet2DConditionModel, str(tmp_path), "unet")


@pytest.mark.parametrize("content", ["[]", '{"weight_map": {}}', "[" * 99_999, None])
def test_an_index_that_lists_nothing_is_no_index(
    sd_folder: Path, tmp_path: Path, content: str | None
) -> None:
    emptied(sd_folder, "unet", tmp_path)
    index = tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    if content is None:
        index.mkdir()
    else:
        index.write_text(content)
    with pytest.raises(CorruptWeightsError, match="is no index of weight files"):
        load_model(UNet2DConditionModel, str(tmp_path), "unet")
