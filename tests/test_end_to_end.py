"""The whole product as a user runs it, tiny: training killed and resumed, videos, the demo."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from forks import Forked, ended, module
from PIL import Image
from waiting import GUARD, wait_until

from lightning_artv.checkpoints.file import read_checkpoint
from lightning_artv.cli import main
from lightning_artv.demo import evaluate, stages
from lightning_artv.demo.evaluate import caption_figures, figures
from lightning_artv.demo.stages import COLOR, HELDOUT_SEED, SCRATCH, VIDEOGEN, VIDRD, Demo
from lightning_artv.errors import UserError
from lightning_artv.media import read_video
from lightning_artv.synthetic.scenes import scene_at

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "models" / "shapes"
CONFIG = ROOT / "configs" / "artv" / "demo.yaml"
TINY = {
    "model.system.init_args.unet.init_args.channels": "[16, 16]",
    "model.system.init_args.unet.init_args.norm_groups": "8",
    "model.system.init_args.sampling.steps": "2",
    "data.batch_size": "4",
    "data.shuffle": "8",
    "trainer.val_check_interval": "4",
}


def _checkpoint_every(steps: int, out: Path) -> list[str]:
    """A ModelCheckpoint and an EMA instead of the demo's callbacks."""
    saver = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {
            "dirpath": str(out / "checkpoints"),
            "save_last": True,
            "every_n_train_steps": steps,
        },
    }
    ema = {"class_path": "lightning_artv.training.ema.EMA", "init_args": {"decay": 0.9}}
    line = {"class_path": "lightning_artv.training.callbacks.ProgressLine"}
    return [f"--trainer.callbacks={json.dumps([ema, line, saver])}"]


def test_fit_killed_and_resumed_then_generate(
    shapes_shards: Path, sd_folder: Path, tmp_path: Path
) -> None:
    """kill -9 after the first checkpoint; --ckpt_path last goes on to the end."""
    out = tmp_path / "run"
    arguments = ["fit", "--config", str(CONFIG), f"--trainer.default_root_dir={out}"]
    arguments += [f"--data.train={shapes_shards}", f"--data.val={shapes_shards}"]
    arguments += [f"--{key}={value}" for key, value in TINY.items()]
    arguments += _checkpoint_every(3, out)
    last = out / "checkpoints" / "last.ckpt"

    command = (tmp_path / "log", module, "lightning_artv", *arguments)
    first = Forked(*command, "--trainer.max_steps=100000", PYTHONWARNINGS="ignore")
    wait_until(last.exists, "no checkpoint", first)
    first.kill()
    reached = int(read_checkpoint(last)["global_step"])
    assert reached >= 3 and reached % 3 == 0

    end = reached + 6
    second = ended(*command, f"--trainer.max_steps={end}", "--ckpt_path=last")
    assert second.code == 0, second.said
    checkpoint = read_checkpoint(last)
    assert checkpoint["global_step"] == end
    steps = [int(s["step"]) for s in checkpoint["optimizer_states"][0]["state"].values()]
    assert set(steps) == {end}
    assert f"step {end}/{end}, " in second.said and "loss" in second.said

    picture = tmp_path / "first.png"
    Image.fromarray(scene_at(0, 5, "heldout").render(0)).save(picture)
    video = tmp_path / "video.mp4"
    options = ["--prompt", "a red circle moves right", "--image", str(picture), "--frames", "4"]
    assert main(["generate", "--checkpoint", str(last), *options, "--output", str(video)]) == 0
    frames = read_video(video)
    assert frames.shape == (4, 32, 32, 3)
    difference = frames[0].int() - torch.from_numpy(scene_at(0, 5, "heldout").render(0)).int()
    assert difference.abs().float().mean() < 12  # the given frame, through a lossy codec

    drawn = tmp_path / "drawn"
    options = ["--prompt", "a dog", "--first-frame-model", str(sd_folder), "--frames", "2"]
    assert main(["generate", "--checkpoint", str(last), *options, "--output", str(drawn)]) == 0
    assert [path.name for path in sorted(drawn.iterdir())] == ["00000.png", "00001.png"]
    pipeline = StableDiffusionPipeline.from_pretrained(sd_folder)
    made = pipeline("a dog", generator=torch.Generator().manual_seed(0)).images[0]
    expected = torch.from_numpy(np.array(made.resize((32, 32), Image.Resampling.LANCZOS))).int()
    with Image.open(drawn / "00000.png") as image:
        assert (torch.from_numpy(np.array(image)).int() - expected).abs().max() <= 1


def test_two_processes_train_and_save_one_checkpoint(shapes_shards: Path, tmp_path: Path) -> None:
    arguments = ["fit", "--config", str(CONFIG), f"--trainer.default_root_dir={tmp_path}"]
    arguments += [f"--data.train={shapes_shards}", f"--data.val={shapes_shards}"]
    arguments += [f"--{key}={value}" for key, value in TINY.items()]
    arguments += [*_checkpoint_every(2, tmp_path), "--trainer.max_steps=2"]
    command = [sys.executable, "-m", "lightning_artv", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    run = subprocess.run(
        [*command, "--trainer.devices=2", "--trainer.strategy=ddp"],
        env=environment,
        capture_output=True,
        timeout=GUARD,
    )
    assert run.returncode == 0, run.stderr.decode()
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 2
    assert (tmp_path / "tensorboard" / "config.yaml").exists()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """What every demo shows first, of the same model and captions."""
    folder = tmp_path_factory.mktemp("shown")
    return folder, evaluate.shipped(SHIPPED, folder, HELDOUT_SEED)


@pytest.fixture
def shown_once(shown: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """That is not made anew by each demo."""
    folder, result = shown

    def again(model: Path, out: Path, seed: int) -> dict[str, Any]:
        assert (model.resolve(), seed) == (SHIPPED, HELDOUT_SEED)
        shutil.copytree(folder, out, dirs_exist_ok=True)
        return dict(result)

    monkeypatch.setattr(evaluate, "shipped", again)


@pytest.fixture
def quick_demo(shown_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo whose commands begin with everything imported, in the project's folder."""
    numbers = count()

    def call(command: Sequence[str], env: dict[str, str]) -> int:
        done = ended(tmp_path / f"log{next(numbers)}", module, *command[2:], **env)
        print(done.said)
        return done.code

    monkeypatch.setattr(stages.subprocess, "call", call)
    monkeypatch.chdir(ROOT)  # the configurations name models/shapes


@pytest.mark.usefixtures("quick_demo")
def test_the_demo_teaches_the_model_that_ships_a_new_color(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    overrides = ["trainer.max_steps=2", "data.batch_size=12", "trainer.val_check_interval=2"]
    Demo(out, replace(COLOR, clips=8), heldout_clips=4).run(overrides)
    metrics = json.loads((out / "metrics.json").read_text())
    before, after = metrics["shipped"]["new"], metrics["new"]
    assert before["captions"] == after["captions"]
    assert all(" orange " in caption for caption in after["captions"])
    assert before["color_accuracy"] < 0.5  # it has never seen the word
    assert after["direction_accuracy"] >= 0.5  # it starts from what it knows
    assert metrics["sizes"]["train"] == 16
    page = (out / "index.html").read_text()
    with pytest.raises(UserError, match="holds another demo: remove it, or choose another --out"):
        Demo(out, SCRATCH, heldout_clips=4).run()
    assert "“orange”" in page and page.count("data:image/gif") == 5


@pytest.mark.usefixtures("shown_once")
def test_a_demo_from_scratch_runs_measures_and_goes_on_where_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    overrides = [f"{key}={value}" for key, value in TINY.items()]
    overrides += ["trainer.max_steps=4"]
    out = tmp_path / "demo"
    lesson = replace(SCRATCH, config=CONFIG, clips=12)
    demo = Demo(out, lesson, heldout_clips=6, model=SHIPPED)
    demo.run(overrides)
    metrics = json.loads((out / "metrics.json").read_text())
    for key in ("psnr", "psnr_copy", "background_psnr"):
        assert len(metrics[key]) == 15 and all(0 < value <= 100 for value in metrics[key])
    for key in ("direction_accuracy", "color_accuracy"):
        assert 0 <= metrics[key] <= 1
    assert metrics["baseline_repeat_first_frame"]["direction_accuracy"] == 0
    assert set(metrics["from_caption"]) == {
        f"{word}_accuracy" for word in ("direction", "color", "shape", "background")
    }
    assert metrics["sizes"]["heldout"] == 6 and metrics["seeds"]["heldout_data"] == 1
    assert metrics["seconds"]["training"] > 0 and metrics["peak_memory_gb"] > 0
    with Image.open(out / "samples.gif") as gif:
        assert gif.n_frames == 16
    page = (out / "index.html").read_text()
    assert "://" not in page.replace("http://www.w3.org", "") and page.count("<svg") >= 3
    assert page.count("data:image/gif") == 3
    with Image.open(out / "shipped.gif") as gif:
        assert gif.n_frames == metrics["shipped"]["frames"]
    assert metrics["shipped"]["color_accuracy"] >= 0.9
    assert (out / "checkpoints" / "last.ckpt").exists() and any((out / "tensorboard").iterdir())

    written = (out / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    capfd.readouterr()
    demo.run(overrides)
    assert capfd.readouterr().out.count("skipped") == 4
    assert (out / "checkpoints" / "last.ckpt").stat().st_mtime_ns == written


@pytest.mark.usefixtures("quick_demo")
def test_a_demo_of_two_trainings_starts_the_second_from_the_first(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    overrides = ["trainer.max_steps=2", "data.batch_size=4", "trainer.val_check_interval=2"]
    overrides += ["model.system.init_args.sampling.steps=2", "model.lr=0"]
    Demo(out, replace(VIDRD, clips=8), heldout_clips=4).run(overrides)
    images, clips = (
        read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
        for folder in (out / "images", out)
    )
    assert set(images) < set(clips)  # pictures have no layers over time
    assert all(torch.equal(clips[name], weight) for name, weight in images.items())
    metrics = json.loads((out / "metrics.json").read_text())
    assert len(metrics["psnr"]) == 7
    assert set(metrics["by_chance"]) == set(metrics["from_caption"])
    page = (out / "index.html").read_text()
    assert "joined by reuse" in page and page.count("data:image/gif") == 4
    with Image.open(out / "other_0.gif") as gif:
        assert gif.n_frames == 16
    told = re.findall(r"Starting from (\d+) of \d+ weights of (\S+);", "".join(capfd.readouterr()))
    assert told == [(str(len(images)), str(out / "images" / "checkpoints" / "last.ckpt"))]


@pytest.mark.usefixtures("quick_demo")
def test_a_demo_of_a_system_that_needs_a_picture_is_given_one_by_the_model_that_ships(
    tmp_path: Path,
) -> None:
    out = tmp_path / "demo"
    overrides = ["trainer.max_steps=2", "data.batch_size=4", "trainer.val_check_interval=2"]
    Demo(out, replace(VIDEOGEN, clips=8), heldout_clips=4).run(overrides)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["sizes"]["frames"] == 8 and len(metrics["psnr"]) == 7
    assert metrics["from_caption"]["color_accuracy"] >= 0.5  # the picture shows it
    page = (out / "index.html").read_text()
    assert "models/shapes" in page and page.count("data:image/gif") == 3


def test_figures_of_the_truth_and_of_a_copy_are_what_they_must_be() -> None:
    scenes = [scene_at(i, 3, "heldout") for i in range(12)]
    truth = torch.stack([torch.from_numpy(scene.video()) for scene in scenes])
    perfect = figures(truth, truth, scenes)
    assert perfect["direction_accuracy"] == perfect["color_accuracy"] == 1
    assert perfect["psnr"] == [100] * 15 and perfect["background_psnr"] == [100] * 15
    copy = figures(truth[:, :1].expand_as(truth), truth, scenes)
    assert copy["direction_accuracy"] == 0 and copy["color_accuracy"] == 1
    assert copy["psnr"] == copy["psnr_copy"] == perfect["psnr_copy"]
    error = (truth[:, 8].double() - truth[:, 0].double()).square().mean(dim=(1, 2, 3))
    expected = (10 * torch.log10(255**2 / error)).mean().item()
    assert copy["psnr"][7] == pytest.approx(expected, abs=0.01)
    backwards = figures(truth.flip(1), truth, scenes)
    assert backwards["direction_accuracy"] == 0 and backwards["color_accuracy"] == 1
    assert set(caption_figures(truth, scenes).values()) == {1.0}
