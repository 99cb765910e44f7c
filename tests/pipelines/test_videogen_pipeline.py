"""VideoGen exported of several checkpoints, loaded, exchanged with Stable Diffusion's pipelines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline, UNet2DConditionModel
from small_checkpoints import SMALL as ARTV_SMALL
from small_checkpoints import sd_config, write_checkpoint
from torch import Tensor

from lightning_artv import VideoGenPipeline, cli, load_system
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError
from lightning_artv.pipelines.composing import load_model
from lightning_artv.systems.base import Segment, VideoModel

PARTS = {n: ARTV_SMALL["init_args"][n] for n in ("unet", "autoencoder", "text_encoder")}
COMMON: dict[str, Any] = {
    "denoiser": {"clip_frames": 4, "prediction_type": "residual", "schedule": "cosine"},
    "sampling": {
        "steps": 2,
        "guidance": {"text": 1.0},
        "upper": {"steps": 2, "noise": 3},
        "clip_latents": 1.0,
        "spacing": "trailing",
    },
}
SIDE = 32
"""Of the last stage's frames."""


def config(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "class_path": f"lightning_artv.systems.videogen.{kind}.build",
        "init_args": {**PARTS, **COMMON, **more},
    }


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Base and one stage above it."""
    folder = tmp_path_factory.mktemp("videogen")
    sizes = {"size": SIDE // 2, "fps": 8}, {"size": SIDE, "fps": 8}
    made = []
    for name, system, data in zip(
        ("base", "cascade"), (config("Base"), config("Cascade")), sizes, strict=True
    ):
        path = write_checkpoint(folder / f"{name}.ckpt", system)
        stored = torch.load(path, weights_only=True)
        stored["lightning_artv"]["data"] = data
        torch.save(stored, path)
        made.append(str(path))
    return made


@pytest.fixture(scope="module")
def folder(checkpoints: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "small"
    words = ["export", "--checkpoint", *reversed(checkpoints), "--output", str(out)]
    assert cli.main(words) == 0
    return out


def picture() -> Tensor:
    g = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (1, 3, SIDE, SIDE), dtype=torch.uint8, generator=g)


def frames_of(system: VideoModel) -> Tensor:
    segments, generators = [Segment(("a dog",), 6)], generators_for(3, ["video"])
    made = list(system.generate(segments, generators, (SIDE, SIDE), picture()))
    return torch.stack(made, dim=1)


def test_a_folder_gives_the_same_frames_as_its_checkpoints(
    checkpoints: list[str], folder: Path
) -> None:
    expected = frames_of(load_model(checkpoints))
    loaded = load_system(folder)
    assert torch.equal(frames_of(loaded), expected)
    pipeline = VideoGenPipeline.from_pretrained(folder)
    image = picture()[0].permute(1, 2, 0).numpy()
    for _ in range(2):  # its U-Nets are plain again in between
        made = pipeline("a dog", image, num_frames=6, seed=3, output_type="pt").frames
        assert torch.equal((made * 255).round().to(torch.uint8), expected)
        assert pipeline.unet.config.in_channels == pipeline.unet.conv_in.in_channels == 12
    again = VideoGenPipeline(**pipeline.components)
    made = again("a dog", image, num_frames=6, seed=3, output_type="pt").frames
    assert torch.equal((made * 255).round().to(torch.uint8), expected)


def test_a_folder_says_what_it_is(checkpoints: list[str], folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "VideoGenPipeline"
    assert index["training"]["system"]["class_path"].endswith("videogen.Base.build")
    assert len(index["training"]["parts"]) == 1
    assert "# VideoGen text-to-video" in (folder / "README.md").read_text()
    assert type(DiffusionPipeline.from_pretrained(folder)) is VideoGenPipeline
    system = load_system(folder)
    assert system.origin.size == (SIDE, SIDE) and len(system.state_dict()) > 0


def test_the_base_alone_is_exported_too(checkpoints: list[str], tmp_path: Path) -> None:
    words = ["export", "--checkpoint", checkpoints[0], "--output", str(tmp_path / "base")]
    assert cli.main(words) == 0
    pipeline = VideoGenPipeline.from_pretrained(tmp_path / "base")
    assert pipeline.unet_2 is None
    image = picture()[0, :, ::2, ::2].permute(1, 2, 0).numpy()
    assert pipeline("a dog", image, num_frames=3, output_type="np").frames.shape == (
        1,
        3,
        16,
        16,
        3,
    )


def test_the_unet_is_stable_diffusions(sd_folder: Path, tmp_path: Path) -> None:
    system = sd_config(sd_folder)
    system["class_path"] = "lightning_artv.systems.videogen.Base.build"
    path = write_checkpoint(tmp_path / "sd.ckpt", system)
    assert cli.main(["export", "--checkpoint", str(path), "--output", str(tmp_path / "out")]) == 0
    unet, told = UNet2DConditionModel.from_pretrained(
        tmp_path / "out", subfolder="unet", use_safetensors=True, output_loading_info=True
    )
    assert not told["missing_keys"] and not told["unexpected_keys"]
    pipeline = StableDiffusionPipeline.from_pretrained(
        sd_folder, unet=unet, use_safetensors=True, safety_checker=None
    )
    assert pipeline.unet.config.in_channels == 4


def test_what_is_no_videogen_is_refused(checkpoints: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no VideoGen to export"):
        VideoGenPipeline.from_system(load_system(write_checkpoint(tmp_path / "a.ckpt", ARTV_SMALL)))
