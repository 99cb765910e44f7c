"""Options of loading and of a call: what cannot be used is named, and is not called damage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from tiny_systems import generate, small_system, trained

from lightning_artv import ARTVPipeline
from lightning_artv.errors import CorruptWeightsError, MissingWeightsError, UserError
from lightning_artv.systems.base import Origin


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device_map": "warp"}, "cannot be loaded with device_map"),
        ({"device_map": {"": "cpu"}}, "cannot be loaded with device_map"),
        ({"vae": "x"}, "cannot be loaded with vae"),
    ],
)
def test_options_that_cannot_be_used_are_no_damage(
    options: dict[str, Any], words: str, exported: dict[str, Path]
) -> None:
    with pytest.raises(UserError, match=words) as error:
        ARTVPipeline.from_pretrained(exported["small"], **options)
    assert error.value.exit_code == 2 and "\n" not in str(error.value)


def test_a_device_that_is_not_there_is_no_damage(exported: dict[str, Path]) -> None:
    if torch.cuda.is_available():
        pytest.skip("the device is there")
    with pytest.raises(UserError, match="device_map") as error:
        ARTVPipeline.from_pretrained(exported["small"], device_map="cuda")
    assert error.value.exit_code == 2


def test_damage_is_damage_with_options_too(folder: Path) -> None:
    (folder / "sha256.txt").unlink()
    (folder / "unet" / "config.json").write_text("{")
    for options in ({}, {"device_map": "cpu"}):
        with pytest.raises(CorruptWeightsError, match="export it again"):
            ARTVPipeline.from_pretrained(folder, **options)


def test_variants(exported: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"no diffusion_pytorch_model.fp16.safetensors"):
        ARTVPipeline.from_pretrained(exported["small"], variant="fp16")
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    pipeline.save_pretrained(tmp_path / "fp16", variant="fp16")
    for options in ({}, {"variant": "fp16"}):  # the only one there is
        again = ARTVPipeline.from_pretrained(tmp_path / "fp16", **options)
        assert generate(again).equal(generate(pipeline))


@pytest.mark.parametrize("there", [True, False])
def test_a_checkpoint_is_told_about_export(there: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    if there:
        path.write_bytes(b"x")
    with pytest.raises(MissingWeightsError, match=f"lightning export --checkpoint {path}"):
        ARTVPipeline.from_pretrained(path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompt": None}, "got None"),
        ({"prompt": ["a", None]}, "list of texts"),
        ({"prompt": b"a"}, "list of texts"),
        ({"prompt": {"a": 1}}, "list of texts"),
        ({"num_frames": 2.5}, "whole number from 1 to 100000, got 2.5"),
        ({"num_frames": "3"}, "got '3'"),
        ({"num_frames": True}, "got True"),
        ({"num_frames": 10**23}, "whole number from 1 to 100000"),
        ({"num_inference_steps": 2.5}, "got 2.5"),
        ({"noise_level": 1.5}, "The noise level must be a whole number"),
        ({"guidance_scale": float("nan")}, "guidance_scale must be a finite number"),
        ({"guidance_scale": "high"}, "guidance_scale must be a number"),
        ({"guidance_anchor": float("inf")}, "guidance of the anchor"),
        ({"height": 16.5}, "The height must be a whole number"),
        ({"width": "x"}, "The width must be a whole number"),
        ({"num_videos_per_prompt": 1.5}, "num_videos_per_prompt"),
        ({"seed": 1.5}, "The seed must be a whole number"),
        ({"seed": None, "generator": 3}, "torch.Generator"),
        ({"seed": None, "generator": [1]}, "torch.Generator"),
        ({"callback_on_step_end": 3}, "callback_on_step_end"),
    ],
)
def test_bad_arguments_of_a_call_are_one_sentence(
    options: dict[str, Any], words: str, exported: dict[str, Path]
) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    arguments = {"prompt": "a", "num_frames": 2, "height": 16, "width": 16, "seed": 0}
    with pytest.raises(UserError, match=words) as error:
        pipeline(**{**arguments, **options})
    assert "\n" not in str(error.value)


def test_a_missing_part_is_named(exported: dict[str, Path]) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"], unet=None)
    with pytest.raises(UserError, match="has no unet"):
        generate(pipeline)


def test_components_make_the_same_pipeline_again(tmp_path: Path) -> None:
    system = trained(small_system(static_noise="residual", use_anchor=False, mask_bias=-1.0))
    system.origin = Origin((16, 16), 4.0)
    made = ARTVPipeline.from_system(system, {"steps": 7})
    made.save_pretrained(tmp_path / "x")
    for pipeline in (made, ARTVPipeline.from_pretrained(tmp_path / "x")):
        again = ARTVPipeline(**pipeline.components)
        names = [name for name in pipeline.config if not name.startswith("_")]
        assert {n: again.config[n] for n in names} == {n: pipeline.config[n] for n in names}
        assert again.config.frame_size == [16, 16] and again.config.static_noise == "residual"
        assert generate(again, height=None, width=None).equal(generate(pipeline))
        other = ARTVPipeline(**pipeline.components, frame_size=[8, 8])
        assert other.config.frame_size == [8, 8] and other.config.fps == 4.0
        assert ARTVPipeline(**pipeline.components).config.frame_size == [16, 16]


def test_diffusers_own_loading_finds_the_class(exported: dict[str, Path]) -> None:
    loaded = DiffusionPipeline.from_pretrained(exported["small"])
    assert type(loaded) is ARTVPipeline
    assert generate(loaded).equal(generate(ARTVPipeline.from_pretrained(exported["small"])))


def test_one_import_is_all_that_diffusers_needs(exported: dict[str, Path]) -> None:
    code = (
        "from lightning_artv import ARTVPipeline\n"
        "from diffusers import DiffusionPipeline\n"
        f"print(type(DiffusionPipeline.from_pretrained({str(exported['small'])!r})).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ARTVPipeline\n"
