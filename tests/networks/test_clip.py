"""CLIP against transformers' own processor and model, on a tiny folder in the real layout."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPModel, CLIPProcessor
from weights_on_disk import LAYOUTS, same, save

from lightning_artv.errors import CorruptWeightsError, MissingWeightsError
from lightning_artv.networks.clip import CLIP
from lightning_artv.networks.weight_files import sha256_of

CAPTIONS = ["a red ball moves left", "x", ""]


@pytest.fixture(scope="module")
def clip(clip_folder: Path) -> CLIP:
    return CLIP(str(clip_folder))


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return torch.randint(0, 256, (3, 3, 40, 56), dtype=torch.uint8)


def reference(folder: Path, frames: Tensor, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Unit vectors by one call of the whole model, which normalises them itself."""
    model = CLIPModel.from_pretrained(folder).eval()
    inputs = CLIPProcessor.from_pretrained(folder)(
        text=captions,
        images=list(frames),
        return_tensors="pt",
        padding=True,
        truncation=True,
        max_length=77,
    )
    with torch.no_grad():
        out = model(**inputs)
    return out.image_embeds, out.text_embeds


def test_equals_transformers_processor_and_model(
    clip: CLIP, clip_folder: Path, frames: Tensor
) -> None:
    captions = [*CAPTIONS, "far too long " * 20]
    images, texts = reference(clip_folder, frames, captions)
    torch.testing.assert_close(clip.images(frames), images, atol=1e-6, rtol=0)
    torch.testing.assert_close(clip.texts(captions), texts, atol=1e-6, rtol=0)
    assert clip.width == 24 == images.shape[1]


def test_embeddings_are_unit_float32_and_a_caption_ignores_its_batch_mates(
    clip: CLIP, frames: Tensor
) -> None:
    for embedded in (clip.images(frames), clip.texts(CAPTIONS)):
        assert embedded.dtype == torch.float32
        torch.testing.assert_close(embedded.norm(dim=1), torch.ones(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = clip.images(frames), clip.texts(CAPTIONS)
    assert torch.equal(inside[0], clip.images(frames))
    assert torch.equal(inside[1], clip.texts(CAPTIONS))
    alone = torch.cat([clip.texts([caption]) for caption in CAPTIONS])
    torch.testing.assert_close(clip.texts(CAPTIONS), alone, atol=1e-6, rtol=0)


def test_preprocessing_is_the_folders_own(
    clip: CLIP, clip_folder: Path, frames: Tensor, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(clip_folder, other)
    CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_mean=[0.1] * 3
    ).save_pretrained(other)
    for leftover in other.glob("processor_config.json"):
        leftover.unlink()  # transformers 5 keeps a second copy of the old settings there
    difference = CLIP(str(other)).images(frames) - clip.images(frames)
    assert difference.abs().max() > 1e-3


def test_frozen_and_in_evaluation_mode_whatever_the_owner_does(clip: CLIP) -> None:
    torch.nn.ModuleList([clip]).train()
    assert not any(module.training for module in clip.modules())
    assert not any(parameter.requires_grad for parameter in clip.parameters())


@pytest.mark.parametrize("shape", [(3, 40, 56), (2, 4, 40, 56)])
def test_frames_of_another_shape_are_refused(clip: CLIP, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"uint8 frames \[N, 3, H, W\]"):
        clip.images(torch.zeros(shape, dtype=torch.uint8))


def test_float_frames_are_refused(clip: CLIP, frames: Tensor) -> None:
    with pytest.raises(ValueError, match="float32"):
        clip.images(frames / 255)


@pytest.fixture
def bin_folder(clip_folder: Path, tmp_path: Path) -> Path:
    """The layout of OpenAI's ViT-B/32 on the hub: `pytorch_model.bin`, with position ids."""
    folder = tmp_path / "bin"
    shutil.copytree(clip_folder, folder)
    (folder / "model.safetensors").unlink()
    state = CLIPModel.from_pretrained(clip_folder).state_dict()
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def test_a_bin_file_gives_the_same_embeddings(clip: CLIP, bin_folder: Path, frames: Tensor) -> None:
    other = CLIP(str(bin_folder))
    assert torch.equal(other.images(frames), clip.images(frames))
    assert other.sha256 == sha256_of(bin_folder / "pytorch_model.bin")


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('the payload ran')",)


def test_a_pickle_with_a_payload_is_refused_and_not_run(bin_folder: Path) -> None:
    torch.save({"weight": Payload()}, bin_folder / "pytorch_model.bin")
    with pytest.raises(CorruptWeightsError, match="download it again"):
        CLIP(str(bin_folder))


def test_a_bin_file_of_other_widths_is_refused(bin_folder: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, bin_folder / "pytorch_model.bin")
    with pytest.raises(CorruptWeightsError, match=r"does not fit the config\.json"):
        CLIP(str(bin_folder))


@pytest.mark.parametrize("content", [[1, 2], {"weight": 1}, torch.zeros(2)])
def test_a_bin_file_that_is_no_state_dict_is_refused(bin_folder: Path, content: object) -> None:
    torch.save(content, bin_folder / "pytorch_model.bin")
    with pytest.raises(CorruptWeightsError, match="holds no state dict"):
        CLIP(str(bin_folder))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_sha256_is_checked_before_loading(clip_folder: Path, bin_folder: Path, name: str) -> None:
    folder = clip_folder if name == "model.safetensors" else bin_folder
    digest = sha256_of(folder / name)
    assert CLIP(str(folder), sha256=digest.upper()).sha256 == digest
    (bin_folder / name).write_bytes(b"not loadable, so only the digest can complain")
    with pytest.raises(CorruptWeightsError, match=r"has sha256 [0-9a-f]{64}, expected"):
        CLIP(str(bin_folder), sha256=digest)


def test_missing_weights_and_missing_processor_say_what_to_give(
    clip_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(MissingWeightsError, match="does not exist"):
        CLIP(str(tmp_path / "absent"))
    bare = tmp_path / "bare"
    shutil.copytree(clip_folder, bare)
    for path in [*bare.glob("*token*"), *bare.glob("*processor*"), *bare.glob("vocab*")]:
        path.unlink()
    with pytest.raises(MissingWeightsError, match="tokenizer"):
        CLIP(str(bare))
    (bare / "model.safetensors").unlink()
    with pytest.raises(MissingWeightsError, match=r"has no model\.safetensors; it holds config"):
        CLIP(str(bare))


def test_weights_without_a_config_are_an_error(bin_folder: Path) -> None:
    (bin_folder / "config.json").unlink()
    with pytest.raises(MissingWeightsError, match=r"has no config\.json"):
        CLIP(str(bin_folder))


def test_a_hub_id_fetches_the_files_of_the_repositorys_root(
    clip: CLIP, bin_folder: Path, frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def snapshot_download(hub_id: str, allow_patterns: list[str], **_: object) -> str:
        asked.append((hub_id, allow_patterns))
        return str(bin_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert torch.equal(CLIP("openai/tiny").images(frames), clip.images(frames))
    assert asked == [
        ("openai/tiny", ["*.json", "*.txt", "model.safetensors", "model-*.safetensors"]),
        ("openai/tiny", ["*.json", "*.txt", "model.*safetensors"]),
        ("openai/tiny", ["*.json", "*.txt", "pytorch_model.bin"]),
    ]


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
