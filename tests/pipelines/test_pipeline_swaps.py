"""Parts exchanged with Stable Diffusion's pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionPipeline,
)
from tiny_systems import KINDS, generate, sd_system

from lightning_artv import ARTVPipeline
from lightning_artv.diffusion.noise import generators_for, randn
from lightning_artv.errors import UserError


@pytest.fixture(scope="module")
def untrained(sd_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion with silent ART•V parts."""
    folder = tmp_path_factory.mktemp("untrained") / "x"
    ARTVPipeline.from_system(sd_system(sd_folder)).save_pretrained(folder)
    return folder


SD_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


def sd_image(pipeline: StableDiffusionPipeline, **options: Any) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    arguments = {"height": 16, "width": 16, "num_inference_steps": 3, "output_type": "np"}
    arguments["generator"] = torch.Generator().manual_seed(0)
    return pipeline("a red dog", **{**arguments, **options}).images[0]


def test_stable_diffusions_parts_swap_in(sd_folder: Path, untrained: Path) -> None:
    sd = StableDiffusionPipeline.from_pretrained(sd_folder)
    parts = {name: getattr(sd, name) for name in SD_PARTS}
    swapped = ARTVPipeline.from_pretrained(untrained, **parts)
    own = ARTVPipeline.from_pretrained(untrained)
    built = ARTVPipeline(**{**own.components, **parts})
    assert swapped.unet is sd.unet
    before = sd_image(sd)
    made = generate(own)
    assert generate(swapped).equal(made)
    assert generate(built, num_inference_steps=2).equal(made)
    assert np.array_equal(sd_image(sd), before)  # its U-Net was given back as it was


@pytest.mark.parametrize("name", ["unet", "vae", "text_encoder"])
def test_a_swapped_part_is_the_one_that_runs(name: str, sd_folder: Path, untrained: Path) -> None:
    pipeline = ARTVPipeline.from_pretrained(untrained)
    before = generate(pipeline)
    sd = StableDiffusionPipeline.from_pretrained(sd_folder)
    other = getattr(sd, name)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    setattr(pipeline, name, other)
    assert not generate(pipeline).equal(before)


def test_exported_parts_swap_into_stable_diffusion(sd_folder: Path, untrained: Path) -> None:
    sd = StableDiffusionPipeline.from_pretrained(sd_folder)
    ours = ARTVPipeline.from_pretrained(untrained)
    parts = {name: getattr(ours, name) for name in SD_PARTS}
    theirs = StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    assert np.array_equal(sd_image(theirs), sd_image(sd))
    loaded = StableDiffusionPipeline.from_pretrained(untrained)  # the folder itself, too
    assert np.array_equal(sd_image(loaded), sd_image(sd))
    assert ours.unet.state_dict().keys() == sd.unet.state_dict().keys()
    config = json.loads((untrained / "unet" / "config.json").read_text())
    assert config["class_embed_type"] is None


def test_the_untrained_first_frame_is_stable_diffusions(sd_folder: Path, untrained: Path) -> None:
    sd = StableDiffusionPipeline.from_pretrained(sd_folder)
    generators = generators_for(3, ["video"])
    randn(generators, (3, 4, 8, 8))  # the augmentation of the blank frames
    image = sd_image(sd, latents=randn(generators, (4, 8, 8)), guidance_scale=7.5)
    pipeline = ARTVPipeline.from_pretrained(untrained)
    ours = generate(pipeline, num_frames=1, num_inference_steps=3, guidance_scale=7.5)
    difference = np.abs(ours[0, 0].permute(1, 2, 0).numpy() - image)
    assert difference.max() <= 1.01 / 255


def test_the_unet_is_plain_after_a_failure(exported: dict[str, Path]) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["sd"])
    keys = list(pipeline.unet.state_dict())

    def fail(*_: Any) -> None:
        assert "anchor" in "".join(pipeline.unet.state_dict())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(pipeline, callback_on_step_end=fail)
    assert list(pipeline.unet.state_dict()) == keys
    assert pipeline.unet.config.class_embed_type is None


def test_parts_that_do_not_fit_are_one_sentence(exported: dict[str, Path], sd_folder: Path) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    sd = StableDiffusionPipeline.from_pretrained(sd_folder)
    pipeline.unet = sd.unet
    with pytest.raises(UserError, match="does not fit the ART•V parts"):
        generate(pipeline)
    clip = ARTVPipeline.from_pretrained(exported["sd"], tokenizer=None)
    with pytest.raises(UserError, match="needs its tokenizer"):
        generate(clip)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_close(kind: str, exported: dict[str, Path]) -> None:
    exact = generate(ARTVPipeline.from_pretrained(exported[kind]))
    half = ARTVPipeline.from_pretrained(exported[kind], torch_dtype=torch.bfloat16)
    assert half.unet.dtype == half.conditioning.dtype == torch.bfloat16
    difference = (generate(half) - exact).abs().mean()
    assert 0 < difference < 0.05


def test_a_compiled_unet_swaps_in(exported: dict[str, Path], tmp_path: Path) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    before = generate(pipeline)
    pipeline.unet = torch.compile(pipeline.unet)
    with torch.compiler.set_stance("force_eager"):  # wrapped, without the minute of compiling
        assert generate(pipeline).equal(before)
    assert pipeline.unet.class_embedding is None
    pipeline.save_pretrained(tmp_path / "x")
    assert generate(ARTVPipeline.from_pretrained(tmp_path / "x")).equal(before)
