"""Weights as people have them: variants, shards, single files, pickles, hub ids."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from original_layout import unet_in_original_layout
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTextModel

from lightning_artv.errors import CorruptWeightsError, MissingWeightsError, UserError
from lightning_artv.first_frame import FirstFrameModel
from lightning_artv.networks.clip import CLIP
from lightning_artv.networks.pretrained import load_config, load_model
from lightning_artv.networks.text_encoder import CLIPTextEncoder
from lightning_artv.networks.unet import PretrainedUNet
from lightning_artv.networks.weight_files import sha256_of

PARTS: dict[str, tuple[type[Any], str]] = {
    "unet": (UNet2DConditionModel, "diffusion_pytorch_model"),
    "vae": (AutoencoderKL, "diffusion_pytorch_model"),
    "text_encoder": (CLIPTextModel, "model"),
}
EVERY_PART = pytest.mark.parametrize("part", PARTS)


def plain(folder: Path, part: str) -> Any:
    return PARTS[part][0].from_pretrained(folder, subfolder=part)


def emptied(sd_folder: Path, part: str, target: Path) -> Path:
    """A copy of one part without its weights, in a Stable Diffusion folder."""
    shutil.copytree(sd_folder / part, target / part)
    (target / part / f"{PARTS[part][1]}.safetensors").unlink()
    return target


def same(a: nn.Module, b: nn.Module, half: bool = False) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    assert all(t.dtype == torch.float32 for t in ours.values() if t.is_floating_point())
    rounded = {
        k: v.half().float() if half and v.is_floating_point() else v for k, v in theirs.items()
    }
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], rounded[k]) for k in ours)


LAYOUTS = ["fp16", "non_ema", "shards", "shards of fp16"]


def save(model: nn.Module, folder: Path, layout: str) -> None:
    """Write a model as its library does."""
    options: dict[str, Any] = {}
    if layout != "shards":
        options["variant"] = layout.removeprefix("shards of ")
    if "shards" in layout:
        options["max_shard_size"] = sum(4 * p.numel() for p in model.parameters()) // 3
    model.save_pretrained(folder, **options)  # type: ignore[operator]


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


def hub(folder: Path, cache: Path, asked: list[str]) -> Callable[..., str]:
    """A hub that holds `folder`, as `snapshot_download` shows it: only what is asked for comes."""

    def snapshot_download(hub_id: str, allow_patterns: list[str], **_: object) -> str:
        assert hub_id == "owner/name"
        for path in (p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(folder).as_posix()
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (cache / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, cache / name)
                asked.append(name)
        return str(cache)

    return snapshot_download


@EVERY_PART
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_hub_repository_gives_plain_weights_or_else_the_variant_it_has(
    sd_folder: Path, tmp_path: Path, part: str, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, asked = emptied(sd_folder, part, tmp_path / "hub"), list[str]()
    save(plain(sd_folder, part), repository / part, layout)
    fetch = hub(repository, tmp_path / "cache", asked)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert same(load_model(PARTS[part][0], "owner/name", part), plain(sd_folder, part))
    shutil.rmtree(tmp_path / "cache")
    asked.clear()
    if layout != "shards":
        plain(sd_folder, part).save_pretrained(repository / part)
        load_model(PARTS[part][0], "owner/name", part)
        weights = [Path(name).name for name in asked if name.endswith(".safetensors")]
        assert weights == [f"{PARTS[part][1]}.safetensors"]


def test_a_hub_repository_of_pickles_only_is_told_how_to_convert(
    sd_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = emptied(sd_folder, "unet", tmp_path / "hub")
    (repository / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    fetch = hub(repository, tmp_path / "cache", [])
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(MissingWeightsError) as raised:
        load_model(UNet2DConditionModel, "owner/name", "unet")
    assert "M.from_pretrained('owner/name', subfolder='unet', use_safetensors=False)" in str(
        raised.value
    )
    assert not list((tmp_path / "cache").rglob("*.bin"))


@pytest.mark.parametrize("name", ["weights/sd21", "a b/c", "owner/none"])
def test_what_is_neither_a_folder_nor_on_the_hub_is_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeightsError, match=f"{name}.* is no folder here"):
        PretrainedUNet(name).build(4)


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


def test_the_config_has_sentences_of_its_own(sd_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    with pytest.raises(MissingWeightsError, match=r"no config\.json"):
        load_config(UNet2DConditionModel, str(tmp_path), "unet")
    (tmp_path / "unet" / "config.json").write_text("{")
    with pytest.raises(CorruptWeightsError, match=r"config\.json cannot be read"):
        load_config(UNet2DConditionModel, str(tmp_path), "unet")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_clip_finds_what_transformers_finds(clip_folder: Path, tmp_path: Path, layout: str) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    (folder / "model.safetensors").unlink()
    model = CLIPModel.from_pretrained(clip_folder)
    save(model, folder, layout)
    clip = CLIP(str(folder))
    assert same(clip.model, model) and len(clip.sha256) == 64
    assert same(CLIP(str(folder), sha256=clip.sha256).model, model)


def test_clip_takes_the_weight_file_itself(clip_folder: Path, tmp_path: Path) -> None:
    reference = CLIP(str(clip_folder))
    clip = CLIP(str(clip_folder / "model.safetensors"))
    assert clip.sha256 == reference.sha256
    assert torch.equal(clip.texts(["a"]), reference.texts(["a"]))
    shutil.copy(clip_folder / "model.safetensors", tmp_path / "clip.safetensors")
    with pytest.raises(MissingWeightsError, match=r"no config\.json beside .*clip\.safetensors"):
        CLIP(str(tmp_path / "clip.safetensors"))
    os.mkdir(tmp_path / "empty")
    with pytest.raises(MissingWeightsError, match=r"no model\.safetensors; it is empty"):
        CLIP(str(tmp_path / "empty"))


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


@pytest.mark.parametrize("there", [None, "fp16", "bf16"])
def test_a_first_frame_model_on_the_hub_is_tried_plain_then_in_fp16(
    sd_folder: Path, there: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, asked = StableDiffusionPipeline.from_pretrained, []

    def from_pretrained(name: str, variant: str | None, **_: object) -> Any:
        asked.append(variant)
        if variant != there:
            raise OSError("no such files")
        return load(sd_folder)

    monkeypatch.setattr("diffusers.AutoPipelineForText2Image.from_pretrained", from_pretrained)
    if there == "bf16":
        with pytest.raises(MissingWeightsError, match="no such files"):
            FirstFrameModel("owner/name", torch.device("cpu"))
    else:
        FirstFrameModel("owner/name", torch.device("cpu"))
    assert asked == ([None] if there is None else [None, "fp16"])


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
