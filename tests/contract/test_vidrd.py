"""VidRD under the shared commands: fit, killed and resumed, validated, generated, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from commands import SIZE, generate, pictures, write_scenes
from forks import Forked, module
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from waiting import wait_until

from lightning_artv import cli, load_system
from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.tar import ShardWriter
from lightning_artv.media import read_image
from lightning_artv.training.command import run

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "configs" / "vidrd" / "demo.yaml"
STEPS = 8


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scenes of 16x16 pixels and 10 frames."""
    folder = tmp_path_factory.mktemp("vidrd") / "shards"
    write_scenes(folder, 6)
    return folder


def arguments(folder: Path, shards: Path, *more: str) -> list[str]:
    """A tiny run of the demo's configuration in a folder, every loss kept."""
    callbacks = [
        {"class_path": "lightning_artv.training.ema.EMA", "init_args": {"decay": 0.5}},
        {"class_path": "loss_log.LossLog", "init_args": {"path": str(folder / "losses")}},
        {
            "class_path": "lightning_artv.training.samples.SampleLogger",
            "init_args": {"every_n_steps": STEPS, "clips": 1, "frames": 10, "prompts": ["a dog"]},
        },
        {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
            "init_args": {
                "dirpath": str(folder / "checkpoints"),
                "save_last": True,
                "every_n_train_steps": 2,
            },
        },
    ]
    system = "model.system.init_args"
    options: dict[str, Any] = {
        f"{system}.unet.init_args.channels": [8, 8],
        f"{system}.unet.init_args.norm_groups": 4,
        f"{system}.sampling.steps": 2,
        f"{system}.sampling.join": "reuse",
        f"{system}.training.given_frames": 0.3,
        f"{system}.denoiser.dropout": 0.1,
        "data.train": str(shards),
        "data.val": str(shards),
        "data.size": SIZE,
        "data.fps": "null",
        "data.batch_size": 2,
        "data.num_workers": 0,
        "model.predict_frames": 11,
        "trainer.default_root_dir": str(folder),
        "trainer.max_steps": STEPS,
        "trainer.limit_val_batches": 1,
        "trainer.log_every_n_steps": 1,
        "trainer.val_check_interval": STEPS,
        "trainer.callbacks": json.dumps(callbacks),
    }
    named = [f"--{name}={value}" for name, value in options.items()]
    return ["--config", str(DEMO), *named, *more]


@pytest.fixture(scope="module")
def trained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("trained")
    assert cli.main(["fit", *arguments(folder, shards)]) == 0
    return folder


@pytest.fixture(scope="module")
def checkpoint(trained: Path) -> Path:
    return trained / "checkpoints" / "last.ckpt"


def lines(folder: Path) -> dict[int, list[Any]]:
    """Step -> loss and keys; of a step that was done twice, the last."""
    path = folder / "losses.0"
    text = path.read_text() if path.exists() else ""
    rows = [json.loads(line) for line in text.splitlines() if line.endswith("]")]
    return {row[0]: row[2:] for row in rows}


def test_killed_and_resumed_it_goes_on_bit_for_bit(
    trained: Path, shards: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    folder.mkdir()
    words = ["fit", *arguments(folder, shards, "--ckpt_path=last")]
    process = Forked(folder / "log", module, "lightning_artv", *words)
    wait_until(lambda: len(lines(folder)) >= 5, "no five steps", process)
    process.kill()
    assert cli.main(["fit", *arguments(folder, shards, "--ckpt_path=last")]) == 0
    assert lines(folder) == lines(trained)
    assert sorted(lines(trained)) == list(range(STEPS))
    weights = [load_system(f / "checkpoints" / "last.ckpt").state_dict() for f in (folder, trained)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_it_shows_samples_and_losses(trained: Path) -> None:
    log = EventAccumulator(str(trained / "tensorboard"), {"images": 0}).Reload()
    assert {"train/loss", "val/loss"} <= set(log.Tags()["scalars"])
    assert set(log.Tags()["images"]) == {"samples/held_out", "samples/prompts"}


def test_its_checkpoint_says_what_it_was_trained_on(checkpoint: Path) -> None:
    system = load_system(checkpoint)
    assert type(system).__name__ == "VidRD"
    assert system.origin.size == (SIZE, SIZE)
    assert system.sampling.steps == 2 and system.continues


@pytest.mark.parametrize("subcommand", ["validate", "test"])
def test_it_is_validated_and_tested(subcommand: str, shards: Path, checkpoint: Path) -> None:
    folder = checkpoint.parents[1]
    words = [subcommand, *arguments(folder, shards, f"--ckpt_path={checkpoint}")]
    assert cli.main(words) == 0


def test_it_predicts_what_follows_the_given_frames(shards: Path, checkpoint: Path) -> None:
    words = arguments(checkpoint.parents[1], shards, f"--ckpt_path={checkpoint}")
    done = run(["predict", *words])
    batch = next(iter(done.datamodule.predict_dataloader()))
    clips = done.model.predict_step(batch, 0)
    assert clips.shape == (len(batch), 11, 3, SIZE, SIZE)
    assert torch.equal(clips[:, 0], batch.frames[:, 0])


def test_it_generates_any_length_with_settings_of_its_own(checkpoint: Path, tmp_path: Path) -> None:
    assert generate(checkpoint, tmp_path / "a", "--frames", "19") == 0
    more = ["--set", "join=overlap", "prompt_frames=2", "guidance.text=3", "--steps", "3"]
    assert generate(checkpoint, tmp_path / "b", "--frames", "19", *more) == 0
    one, two = pictures(tmp_path / "a"), pictures(tmp_path / "b")
    assert one.shape == two.shape == (19, SIZE, SIZE, 3)
    assert (one != two).any()
    sampling = json.loads((tmp_path / "b.json").read_text())["sampling"]
    assert (sampling["join"], sampling["prompt_frames"], sampling["steps"]) == ("overlap", 2, 3)
    assert sampling["guidance"] == {"text": 3.0}


def test_it_continues_a_picture_and_tells_a_storyboard(checkpoint: Path, tmp_path: Path) -> None:
    board = tmp_path / "board.yaml"
    board.write_text(yaml.safe_dump([{"prompt": "a", "frames": 9}, {"prompt": "b", "frames": 5}]))
    assert generate(checkpoint, tmp_path / "first", "--frames", "1") == 0
    image = tmp_path / "first" / "00000.png"
    named = ["--checkpoint", str(checkpoint), "--device", "cpu", "--image", str(image)]
    words = ["generate", *named, "--storyboard", str(board), "--output", str(tmp_path / "out")]
    assert cli.main(words) == 0
    made = pictures(tmp_path / "out")
    assert made.shape == (14, SIZE, SIZE, 3)
    given = read_image(image, (SIZE, SIZE)).permute(1, 2, 0).numpy()
    assert np.abs(made[0].astype(int) - given).max() <= 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--noise-level", "3"], "VidRDSampling has steps, sampler, spacing, guidance.text"),
        (["--guidance", "1,1,1"], "There is no setting 'guidance."),
        (["--set", "prompt_frames=9"], "9 prompt frames do not fit in clips of 8 frames"),
        (["--set", "noise_reuse=-1"], "noise_reuse (alpha) must be a finite number from 0"),
        (["--set", "noise_reuse=inf"], "noise_reuse cannot be 'inf'"),
        (["--set", "guided_share=2"], "guided_share (beta) must be a finite number from 0 to 1"),
        (["--set", "join=glue"], "join cannot be 'glue'"),
        (["--sampler", "dpm-solver++"], "choose ddim, guided_share=0 or join=overlap"),
        (["--size", "15x16"], "not divisible by 4"),
    ],
)
def test_what_cannot_be_made_is_one_sentence_and_leaves_nothing(
    options: list[str],
    sentence: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert generate(checkpoint, tmp_path / "out", *options) == 2
    error = capsys.readouterr().err.strip()
    assert sentence in error and error.count("error:") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_refused_where_none_was_given_in_training(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    never = "--model.system.init_args.training.given_frames=0"
    folder = tmp_path / "run"
    assert cli.main(["fit", *arguments(folder, shards, never, "--trainer.max_steps=1")]) == 0
    image = tmp_path / "x.png"
    Image.new("RGB", (SIZE, SIZE)).save(image)
    checkpoint = folder / "checkpoints" / "last.ckpt"
    cli.main(["validate", *arguments(folder, shards, never, f"--ckpt_path={checkpoint}")])
    assert load_system(checkpoint).continues is False
    capsys.readouterr()
    assert generate(checkpoint, tmp_path / "out", "--image", str(image)) == 2
    assert "trained without given_frames" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "code", "sentence"),
    [
        ("--data.windows.init_args.frames=6", 2, "clips have 6 frames but the system's 8"),
        (
            "--data.windows=lightning_artv.systems.artv.windows.NextFrame",
            2,
            "set data.windows.class_path to lightning_artv.data.windows.ConsecutiveFrames",
        ),
        ("--data.windows.init_args.frames=0", 2, "number of frames must be a whole number from 1"),
        ("--model.system.init_args.denoiser.clip_frames=3", 2, "do not fit in clips of 3 frames"),
        ("--model.system.init_args.denoiser.trained=temporal", 2, "starts at random"),
        ("--model.system.init_args.training.given_frames=2", 2, "given_frames, a share"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(
    option: str,
    code: int,
    sentence: str,
    shards: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["fit", *arguments(tmp_path / "run", shards, option)]) == code
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error


def test_videos_shorter_than_a_clip_are_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ShardWriter(tmp_path / "short") as writer:
        for index in range(3):
            clip = np.zeros((5, SIZE, SIZE, 3), np.uint8)
            writer.write(f"clip{index}", encode_lossless(clip, 8), "nothing", {})
    assert cli.main(["fit", *arguments(tmp_path / "run", tmp_path / "short")]) == 5
    error = capsys.readouterr().err
    assert "Traceback" not in error and "8 frames" in error


def test_an_artv_checkpoint_is_no_start_for_vidrd(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from small_checkpoints import SMALL, write_checkpoint

    other = write_checkpoint(
        tmp_path / "artv.ckpt", SMALL, **{"pytorch-lightning_version": "2.6.0"}
    )
    words = arguments(tmp_path / "run", shards, f"--ckpt_path={other}")
    assert cli.main(["fit", *words]) == 2
    assert "Traceback" not in capsys.readouterr().err
