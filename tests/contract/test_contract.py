"""What a new system gets from the shared code without a line about it there.

`systems/together.py` is unlike ART•V in all that the shared code once took for granted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from commands import SIZE, generate, pictures, write_scenes
from miniature import write_ucf101
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import lightning_artv.systems
from evaluation.__main__ import main as evaluate
from lightning_artv import cli, load_system
from lightning_artv.training.command import run

TOGETHER = "lightning_artv.systems.together"


@pytest.fixture(scope="module", autouse=True)
def added() -> Iterator[None]:
    """The toy system's file, beside the shipped systems."""
    with pytest.MonkeyPatch.context() as patch:
        places = [*lightning_artv.systems.__path__, str(Path(__file__).parent / "systems")]
        patch.setattr(lightning_artv.systems, "__path__", places)
        yield


@pytest.fixture(scope="module")
def config(added: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on scenes of 16x16 pixels, all that is logged on."""
    root = tmp_path_factory.mktemp("contract")
    write_scenes(root / "shards", 4)
    callbacks: list[dict[str, Any]] = [
        {"class_path": "lightning_artv.training.ema.EMA", "init_args": {"decay": 0.5}},
        {
            "class_path": "lightning_artv.training.callbacks.LossByTimestep",
            "init_args": {"every_n_batches": 2},
        },
        {
            "class_path": "lightning_artv.training.samples.SampleLogger",
            "init_args": {"every_n_steps": 2, "clips": 1, "frames": 8, "prompts": ["a dog"]},
        },
        {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
            "init_args": {"dirpath": str(root / "checkpoints"), "save_last": True},
        },
    ]
    logger = {"save_dir": str(root), "name": "log", "version": ""}
    content = {
        "data": {
            "train": str(root / "shards"),
            "val": str(root / "shards"),
            "size": SIZE,
            "batch_size": 2,
            "num_workers": 0,
        },
        "model": {
            "lr": 1e-3,
            "predict_frames": 11,
            "system": {"class_path": f"{TOGETHER}.Together", "init_args": {"width": 3}},
        },
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 2,
            "limit_val_batches": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
            "logger": {
                "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
                "init_args": logger,
            },
            "callbacks": callbacks,
        },
    }
    path = root / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def checkpoint(config: Path) -> Path:
    """What `lightning fit` leaves."""
    assert cli.main(["fit", "--config", str(config)]) == 0
    return config.parent / "checkpoints" / "last.ckpt"


def test_it_fits_and_shows_its_own_figures(checkpoint: Path) -> None:
    log = EventAccumulator(str(checkpoint.parents[1] / "log"), {"images": 0}).Reload()
    scalars = set(log.Tags()["scalars"])
    assert {"train/loss", *(f"brightness/{step}" for step in range(3))} <= scalars
    losses = {tag.removeprefix("train/loss") for tag in scalars if tag.startswith("train/loss_q")}
    flows = {tag.removeprefix("train/flow") for tag in scalars if tag.startswith("train/flow_q")}
    assert losses == flows != set()
    assert set(log.Tags()["images"]) == {"samples/held_out", "samples/prompts"}


def test_it_is_restored_from_its_checkpoint_as_trained(checkpoint: Path) -> None:
    average, raw = load_system(checkpoint), load_system(checkpoint, weights="raw")
    assert type(average).__name__ == "Together"
    assert (average.origin.size, average.into.out_channels) == ((SIZE, SIZE), 3)
    assert not torch.equal(average.out.weight, raw.out.weight)


@pytest.mark.parametrize("subcommand", ["validate", "test"])
def test_it_is_validated_and_tested(subcommand: str, config: Path, checkpoint: Path) -> None:
    arguments = [subcommand, "--config", str(config), f"--ckpt_path={checkpoint}"]
    assert cli.main(arguments) == 0


def test_it_predicts_frames_that_nobody_gave(config: Path, checkpoint: Path) -> None:
    done = run(["predict", "--config", str(config), f"--ckpt_path={checkpoint}"])
    module = done.model
    batch = next(iter(done.datamodule.predict_dataloader()))
    clips = module.predict_step(batch, 0)
    assert clips.shape == (len(batch), 11, 3, SIZE, SIZE)
    assert clips.dtype == torch.uint8


def test_it_generates_with_settings_of_its_own(checkpoint: Path, tmp_path: Path) -> None:
    assert generate(checkpoint, tmp_path / "a", "--frames", "11") == 0
    more = ["--set", "pull.words=9", "warmth=0.5", "--steps", "5"]
    assert generate(checkpoint, tmp_path / "b", "--frames", "11", *more) == 0
    one, two = pictures(tmp_path / "a"), pictures(tmp_path / "b")
    assert one.shape == two.shape == (11, SIZE, SIZE, 3)
    assert (one != two).any()
    sampling = json.loads((tmp_path / "b.json").read_text())["sampling"]
    assert sampling == {"steps": 5, "pull": {"words": 9.0}, "warmth": 0.5}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--guidance-text", "3"], "TogetherSampling has steps, pull.words, warmth"),
        (["--set", "noise_level=3"], "There is no setting 'noise_level'"),
        (["--steps", "101"], "101 steps: choose at most 100."),
        (["--image", "IMAGE"], "Together makes all frames itself: give no first frame."),
    ],
)
def test_what_it_has_not_is_refused_in_one_sentence(
    options: list[str],
    sentence: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert generate(checkpoint, tmp_path / "frame", "--frames", "1") == 0
    image = str(tmp_path / "frame" / "00000.png")
    options = [image if word == "IMAGE" else word for word in options]
    capsys.readouterr()
    assert generate(checkpoint, tmp_path / "out", *options) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_pipeline_its_checkpoint_is_what_is_shared(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "exported"
    assert cli.main(["export", "--checkpoint", str(checkpoint), "--output", str(output)]) == 2
    assert "Together has no diffusers pipeline to export" in capsys.readouterr().err
    assert not output.exists()


def test_windows_of_another_system_are_refused(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = "--data.windows=lightning_artv.systems.artv.windows.NextFrame"
    root = f"--trainer.default_root_dir={config.parent / 'other'}"
    again = f"--ckpt_path={config.parent / 'none.ckpt'}"
    assert cli.main(["validate", "--config", str(config), other, root, again]) == 2
    assert cli.main(["validate", "--config", str(config), other, root]) == 2
    assert f"set data.windows.class_path to {TOGETHER}.EightFrames" in capsys.readouterr().err


def test_its_videos_are_scored(checkpoint: Path, tmp_path: Path) -> None:
    """With random networks: that it can be done, not how good it is."""
    real = write_ucf101(tmp_path / "real", ("Archery", "Biking"), videos=2, frames=16)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a dog\na cat\na bow\na bike\n")
    named = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "fake")]
    assert cli.main(["generate", *named, "--prompts", str(prompts), "--device", "cpu"]) == 0
    changes = ["--set", "count=4", "resolution=32", "metrics=fvd,drift"]
    out = tmp_path / "result.json"
    arguments = ["score", "--protocol", "ucf101-2048", *changes, "--data", str(real)]
    arguments += ["--fake", str(tmp_path / "fake"), "--random-features", "0", "--out", str(out)]
    assert evaluate([*arguments, "--device", "cpu"]) == 0
    values = [m["value"] for m in json.loads(out.read_text())["measurements"]]
    assert values and all(value is not None for value in values)
