"""Saved and loaded bit for bit, the same frames as our own generation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines import pipeline_utils
from diffusers.utils import hub_utils
from huggingface_hub import ModelCard, RepoUrl
from PIL import Image
from tiny_systems import KINDS, generate, make, small_system, trained

from lightning_artv import ARTVPipeline
from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError
from lightning_artv.generation.storyboard import Shot
from lightning_artv.generation.videos import VideoRequest, generate_videos
from lightning_artv.pipelines.folder import checksums


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_makes_the_same_frames_bit_for_bit(
    kind: str, sd_folder: Path, tmp_path: Path
) -> None:
    pipeline = ARTVPipeline.from_system(make(kind, sd_folder))
    pipeline.save_pretrained(tmp_path / "saved")
    loaded = ARTVPipeline.from_pretrained(tmp_path / "saved")
    made = generate(pipeline)
    assert made.std() > 0.02  # no blank frames
    assert not made[0, 0].equal(made[0, 1])
    assert generate(loaded).equal(made)
    loaded.save_pretrained(tmp_path / "again")  # and nothing changes on the way
    assert checksums(tmp_path / "again")["unet/config.json"] != ""
    for name, digest in checksums(tmp_path / "saved").items():
        if name.endswith(".safetensors"):
            assert checksums(tmp_path / "again")[name] == digest


@pytest.mark.parametrize("kind", KINDS)
def test_same_frames_as_generate_videos(kind: str, sd_folder: Path, tmp_path: Path) -> None:
    system = make(kind, sd_folder)
    pipeline = ARTVPipeline.from_system(system)
    prompts = ("a red dog", "a cat")
    requests = [
        VideoRequest((Shot(prompt, 3),), tmp_path / str(i), 7 + i)
        for i, prompt in enumerate(prompts)
    ]
    generate_videos(system, requests, (16, 24), 8.0)
    pipeline.set_progress_bar_config(disable=True)
    videos = pipeline(prompts, num_frames=3, height=16, width=24, seed=7).frames
    for request, video in zip(requests, videos, strict=True):
        for path, frame in zip(sorted(request.output.iterdir()), video, strict=True):
            assert np.array_equal(np.asarray(Image.open(path)), np.asarray(frame))


SAVED_PARTS = {
    "conditioning": ("adapter", "anchor_encoder", "noise_level", "anchor_attention"),
    "mask_conditioning": ("adapter", "anchor_encoder", "noise_level", "anchor_attention"),
    "unet": ("mid_block",),
    "mask_unet": ("mid_block",),
    "text_encoder": ("embedding",),
}


@pytest.mark.parametrize(
    ("component", "part"), [(c, part) for c, parts in SAVED_PARTS.items() for part in parts]
)
def test_every_part_is_truly_saved(
    component: str, part: str, exported: dict[str, Path], tmp_path: Path
) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    before = generate(pipeline)
    with torch.no_grad():
        for parameter in getattr(getattr(pipeline, component), part).parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    changed = generate(pipeline)
    assert not changed.equal(before)  # the part matters
    pipeline.save_pretrained(tmp_path / "changed")
    loaded = ARTVPipeline.from_pretrained(tmp_path / "changed")
    assert generate(loaded).equal(changed)


def test_every_weight_of_the_system_is_in_the_folder(exported: dict[str, Path]) -> None:
    system = trained(small_system())
    again = ARTVPipeline.from_pretrained(exported["small"]).to_system()
    theirs = again.state_dict()
    assert all(theirs[name].equal(tensor) for name, tensor in system.state_dict().items())


def test_a_system_without_mask_has_no_mask_parts(tmp_path: Path) -> None:
    pipeline = ARTVPipeline.from_system(trained(small_system(static_noise="none")))
    pipeline.save_pretrained(tmp_path / "x")
    assert not list((tmp_path / "x").glob("mask*"))
    loaded = ARTVPipeline.from_pretrained(tmp_path / "x")
    assert loaded.mask_unet is None
    assert generate(loaded).equal(generate(pipeline))
    with pytest.raises(UserError, match="go together"):
        ARTVPipeline(**{**loaded.components, "mask_unet": loaded.unet}, static_noise="none")


def test_the_folder_says_its_settings(tmp_path: Path) -> None:
    system = trained(small_system(static_noise="residual", use_anchor=False, mask_bias=-1.0))
    ARTVPipeline.from_system(system).save_pretrained(tmp_path / "x")
    again = ARTVPipeline.from_pretrained(tmp_path / "x").to_system()
    names = ("static_noise", "use_anchor", "mask_bias", "max_noise_level", "prediction_type")
    kept = again.denoiser.masking, system.denoiser.masking
    assert [getattr(kept[0], n) for n in names] == [getattr(kept[1], n) for n in names]
    assert again.sampling == system.sampling


def test_its_system_computes_the_same_loss(tmp_path: Path) -> None:
    system = trained(small_system())
    ARTVPipeline.from_system(system).save_pretrained(tmp_path / "x")
    again = ARTVPipeline.from_pretrained(tmp_path / "x").to_system()
    pixels = torch.randint(0, 256, (2, 4, 3, 16, 16), dtype=torch.uint8)
    choice = torch.arange(4).expand(2, 1, 4)
    batch = VideoBatch(pixels, choice, ("a dog", "a cat"), ("a", "b"))
    losses = [s.loss(batch, generators_for(0, batch.keys)).per_sample for s in (system, again)]
    assert losses[0].isfinite().all() and torch.equal(*losses)


def test_it_generates_in_evaluation_mode(exported: dict[str, Path]) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    before = generate(pipeline)
    for part in (pipeline.unet, pipeline.text_encoder):
        for module in part.train().modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.5
    assert generate(pipeline).equal(before)


PUSHES: dict[str, Callable[[ARTVPipeline, Path], Any]] = {
    "push_to_hub": lambda pipeline, folder: pipeline.push_to_hub("me/artv"),
    "save_pretrained": lambda pipeline, folder: pipeline.save_pretrained(
        folder / "saved", push_to_hub=True, repo_id="me/artv"
    ),
}


@pytest.mark.parametrize("push", PUSHES)
def test_what_is_uploaded_has_our_card_and_loads(
    push: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upload(folder_path: str, repo_id: str, **_: Any) -> None:
        assert repo_id == "me/artv"
        shutil.copytree(folder_path, tmp_path / "uploaded")

    url = RepoUrl("https://huggingface.co/me/artv")
    for module in (hub_utils, pipeline_utils):
        monkeypatch.setattr(module, "create_repo", lambda *_, **__: url)
        card = ModelCard("An empty card.")
        monkeypatch.setattr(module, "load_or_create_model_card", lambda *_, _c=card, **__: _c)
    monkeypatch.setattr(hub_utils, "upload_folder", upload)
    pipeline = ARTVPipeline.from_pretrained(folder)
    PUSHES[push](pipeline, tmp_path)
    text = (tmp_path / "uploaded" / "README.md").read_text()
    assert 'from_pretrained("me/artv")' in text and "empty card" not in text
    assert len(checksums(tmp_path / "uploaded")) > 10
    again = ARTVPipeline.from_pretrained(tmp_path / "uploaded")
    assert generate(again).equal(generate(pipeline))
