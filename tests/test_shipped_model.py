"""The models that come with the project do what their cards say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_artv.cli import main
from lightning_artv.demo.evaluate import caption_figures, figures
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.media import read_video
from lightning_artv.pipelines.loading import load_system
from lightning_artv.synthetic.measures import measure_clip
from lightning_artv.synthetic.scenes import scene_at
from lightning_artv.synthetic.worlds import world_at
from lightning_artv.systems.base import Segment, VideoModel

MODELS = Path(__file__).parents[1] / "models"
LEAST_PSNR = {"shapes": (31.5, 38.0), "shapes-fast": (31.0, 37.0)}
"""dB at frame 15, of the whole and of the background."""
LEAST_SHAPES = {"shapes": 0.94, "shapes-fast": 0.8}
"""Share of captions whose shape is shown."""
SCENES = [scene_at(i, 1, "heldout") for i in range(24)]
CAPTIONS = tuple(scene.caption() for scene in SCENES)
LARGEST = 16e6
"""Bytes that the folder may take in the repository."""


@pytest.fixture(scope="module", params=LEAST_PSNR)
def folder(request: pytest.FixtureRequest) -> Path:
    return MODELS / request.param


@pytest.fixture(scope="module")
def system(folder: Path) -> VideoModel:
    return load_system(folder)


def clips(system: VideoModel, first: torch.Tensor | None, frames: int = 16) -> torch.Tensor:
    g = generators_for(0, range(len(SCENES)))
    made = system.generate([Segment(CAPTIONS, frames)], g, (32, 32), first)
    return torch.stack([frame.permute(0, 2, 3, 1) for frame in made], dim=1)


def test_it_is_small_and_says_how_it_was_made(folder: Path) -> None:
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) < LARGEST
    card = (folder / "README.md").read_text()
    for word in ("samples", "seed", "Licence", "PSNR", "held-out"):
        assert word in card


def test_a_held_out_first_frame_is_continued(system: VideoModel, folder: Path) -> None:
    truth = torch.from_numpy(np.stack([scene.video() for scene in SCENES]))
    made = clips(system, truth[:, 0].permute(0, 3, 1, 2))
    found = figures(made, truth, SCENES)
    assert found["direction_accuracy"] == found["color_accuracy"] == 1
    whole, background = LEAST_PSNR[folder.name]
    assert found["psnr"][14] > whole and found["background_psnr"][14] > background
    assert found["psnr"][14] > found["psnr_copy"][14] + 8


def test_the_student_needs_a_tenth_of_the_steps_for_a_first_frame() -> None:
    steps = [load_system(MODELS / name).sampling.steps_of(1, given=False) for name in LEAST_PSNR]
    assert steps == [20, 2]


def test_captions_alone_are_heard(system: VideoModel, folder: Path) -> None:
    found = caption_figures(clips(system, None), SCENES)
    assert found["color_accuracy"] > 0.9 and found["background_accuracy"] > 0.9
    assert found["direction_accuracy"] > 0.9
    assert found["shape_accuracy"] > LEAST_SHAPES[folder.name]


def test_a_sentence_makes_a_video(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "video.gif"
    prompt = "a red circle moves right slowly on a grey background"
    arguments = ["generate", "--checkpoint", folder, "--prompt", prompt, "--output", output]
    assert main([str(a) for a in [*arguments, "--device", "cpu"]]) == 0
    assert read_video(output).shape == (16, 32, 32, 3)


def test_textured_worlds_are_continued_as_their_card_says() -> None:
    worlds = [world_at(i, 1, "heldout") for i in range(16)]
    given = torch.from_numpy(np.stack([world.render(0) for world in worlds])).permute(0, 3, 1, 2)
    segment = Segment(tuple(world.caption() for world in worlds), 16)
    system = load_system(MODELS / "worlds")
    made = system.generate([segment], generators_for(0, range(16)), (32, 32), given)
    clips = torch.stack([frame.permute(0, 2, 3, 1) for frame in made], dim=1).numpy()
    found = [measure_clip(clip, world) for clip, world in zip(clips, worlds, strict=True)]
    still = [measure_clip(world.video(1).repeat(16, 0), world) for world in worlds]
    gained = [f.psnr[15] - s.psnr[15] for f, s in zip(found, still, strict=True)]
    right = [f.direction == world.direction for f, world in zip(found, worlds, strict=True)]
    assert np.mean(gained) > 5 and np.mean(right) > 0.8
    assert (MODELS / "worlds" / "README.md").read_text().count("held-out") >= 1
