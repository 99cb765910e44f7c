"""VideoGen exported of several checkpoints, loaded, exchanged with Stable Diffusion's pipelines."""

from __future__ import annotations

import json
import shutil
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
        ("base", "cascade"),
        (config("Base"), config("Cascade", upsampling="learned")),
        sizes,
        strict=True,
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
    made = pipeline("a dog", image, num_frames=3, output_type="np").frames
    assert made.shape == (1, 3, 16, 16, 3)
    beside = load_model([checkpoints[1], tmp_path / "base"])
    assert torch.equal(frames_of(beside), frames_of(load_model(checkpoints)))


# Every part


def build_of(place: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": f"lightning_artv.systems.{place}.build", "init_args": arguments}


@pytest.fixture(scope="module")
def all_parts(
    sd_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, str], Path]:
    """Checkpoints of all parts by name, and a folder of them; each network at random."""
    folder, parts = tmp_path_factory.mktemp("parts"), sd_config(sd_folder)["init_args"]
    vae, text, unet = (parts[name] for name in ("autoencoder", "text_encoder", "unet"))
    networks = {"unet": unet, "autoencoder": vae, "text_encoder": text}
    denoiser = {"clip_frames": 4, "schedule": "scaled_linear"}
    stage = {**networks, "denoiser": denoiser, "sampling": COMMON["sampling"]}
    configs = {
        "base": build_of("videogen.Base", **stage),
        "cascade": build_of("videogen.Cascade", **stage),
        "tsr": build_of(
            "videogen.tsr.TemporalSuperResolution",
            **networks,
            flow={"levels": 2, "width": 8},
            refiner={"schedule": "cosine"},
            sampling={"steps": 2, "band": 2},
        ),
        "decoder": build_of(
            "decoder.system.VideoDecoder",
            autoencoder=vae,
            decoder={"layers": "convolutions", "trained": "all", "clip_frames": 3},
        ),
    }
    made = {}
    for name, system in configs.items():
        made[name] = str(write_checkpoint(folder / f"{name}.ckpt", system))
        stored = torch.load(made[name], weights_only=True)
        side = SIDE // 2 if name == "base" else SIDE
        stored["lightning_artv"]["data"] = {"size": side, "fps": 8}
        torch.save(stored, made[name])
    words = ["export", "--checkpoint", *reversed(made.values()), "--output", str(folder / "all")]
    assert cli.main(words) == 0
    return made, folder / "all"


def test_a_folder_holds_every_part(all_parts: tuple[dict[str, str], Path]) -> None:
    checkpoints, folder = all_parts
    system = load_model(list(checkpoints.values()))
    expected = frames_of(system)
    alone = frames_of(load_model([checkpoints["base"], checkpoints["cascade"]]))
    assert not torch.equal(alone, expected)  # the other parts do something
    loaded = load_model([folder])
    assert torch.equal(frames_of(loaded), expected)
    assert loaded.note == "" and loaded.frame_rate(loaded.sampling) == 64
    pipeline = VideoGenPipeline.from_pretrained(folder)
    for kind in (pipeline, VideoGenPipeline(**pipeline.components)):
        image = picture()[0].permute(1, 2, 0).numpy()
        made = kind("a dog", image, num_frames=6, seed=3, output_type="pt").frames
        assert torch.equal((made * 255).round().to(torch.uint8), expected)
    index = json.loads((folder / "model_index.json").read_text())
    assert index["training"]["system"]["class_path"].endswith("videogen.Base.build")
    assert len(index["training"]["parts"]) == 3


def test_a_folder_beside_the_checkpoints_of_other_parts(
    all_parts: tuple[dict[str, str], Path], tmp_path: Path
) -> None:
    checkpoints, whole = all_parts
    stages, others = tmp_path / "stages", [checkpoints["decoder"], checkpoints["tsr"]]
    words = ["export", "--checkpoint", checkpoints["cascade"], checkpoints["base"]]
    assert cli.main([*words, "--output", str(stages)]) == 0
    expected = frames_of(load_model([whole]))
    together = load_model([*others, stages])
    assert torch.equal(frames_of(together), expected) and together.origin.size == (SIDE, SIDE)
    words = ["export", "--checkpoint", *others, str(stages), "--output", str(tmp_path / "all")]
    assert cli.main(words) == 0
    assert torch.equal(frames_of(load_model([tmp_path / "all"])), expected)
    told = [json.loads((at / "model_index.json").read_text()) for at in (whole, tmp_path / "all")]
    assert told[0]["training"] == told[1]["training"]


@pytest.mark.parametrize(
    ("beside", "sentence"),
    [
        (["tsr"], "are both the part tsr: give one"),
        (["base"], "are both the part base: give one"),
        (["artv"], "artv.ckpt' holds all of ARTV: give it alone, or with one checkpoint"),
        (["all"], "all' is given twice: give each part once"),
        (["tsr", "alone"], "give a base among them"),
    ],
)
def test_folders_and_checkpoints_that_do_not_fit_are_one_sentence(
    beside: list[str],
    sentence: str,
    all_parts: tuple[dict[str, str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoints, folder = all_parts
    artv = write_checkpoint(tmp_path / "artv.ckpt", ARTV_SMALL)
    known = {**checkpoints, "artv": str(artv), "all": str(folder), "alone": checkpoints["decoder"]}
    given = [*(known[name] for name in beside), *([] if "alone" in beside else [str(folder)])]
    for command in (["generate", "--prompt", "a dog"], ["export"]):
        words = [*command, "--checkpoint", *given, "--output", str(tmp_path / "out")]
        assert cli.main(words) == 2
        error = capsys.readouterr().err
        assert sentence in error and len(error.strip().splitlines()) == 1
        assert not (tmp_path / "out").exists()


def test_a_part_of_a_folder_that_is_damaged_is_told(
    all_parts: tuple[dict[str, str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, code in (("tsr", 3), ("decoder", 4)):
        folder = shutil.copytree(all_parts[1], tmp_path / part)
        weights = folder / part / "diffusion_pytorch_model.safetensors"
        if code == 3:
            weights.unlink()
        else:
            weights.write_bytes(weights.read_bytes()[:-1] + b"x")
        words = ["generate", "--checkpoint", str(folder), "--prompt", "a", "--output", "o.mp4"]
        assert cli.main(words) == code
        error = capsys.readouterr().err
        assert part in error and len(error.strip().splitlines()) == 1


def test_a_decoder_beside_another_system_is_not_lost_by_an_export(
    all_parts: tuple[dict[str, str], Path],
    sd_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    artv = str(write_checkpoint(tmp_path / "artv.ckpt", sd_config(sd_folder)))
    for part, sentence in (("decoder", "Only VideoGen's folders hold"), ("tsr", "no diffusers")):
        words = ["export", "--checkpoint", artv, all_parts[0][part], "--output"]
        assert cli.main([*words, str(tmp_path / "out")]) == 2
        assert sentence in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


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
