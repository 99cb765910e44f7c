"""Weights by hub id: what is asked for, and what a repository without it is told."""

from __future__ import annotations

import fnmatch
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from weights_on_disk import EVERY_PART, LAYOUTS, PARTS, emptied, plain, same, save

from lightning_artv.errors import MissingWeightsError
from lightning_artv.generation.first_frame import FirstFrameModel
from lightning_artv.networks.pretrained import load_model
from lightning_artv.networks.unet import PretrainedUNet


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


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Expecting value: line 1 column 1 (char 0)"),  # the page of a portal
        ConnectionError("refused"),
        type("RemoteProtocolError", (Exception,), {})("the server went away"),
    ],
    ids=repr,
)
def test_whatever_stands_between_here_and_the_hub_is_missing(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(MissingWeightsError, match="nor could it be downloaded") as raised:
        load_model(UNet2DConditionModel, "owner/name", "unet")
    assert str(error) in str(raised.value) and raised.value.exit_code == 3


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


def test_a_first_frame_model_without_a_network_is_missing_for_that_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    asked = []

    def from_pretrained(name: str, variant: str | None, **_: object) -> Any:
        asked.append(variant)
        raise OSError(f"{name} does not appear to have a file named model_index.json.")

    monkeypatch.setattr("diffusers.AutoPipelineForText2Image.from_pretrained", from_pretrained)
    with pytest.raises(MissingWeightsError, match=r"nor could it be downloaded .*network") as error:
        FirstFrameModel("owner/name", torch.device("cpu"))
    assert "\n" not in str(error.value) and asked == [None]
