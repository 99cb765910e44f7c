"""VideoGen under the shared commands: base and cascade fit, composed and generated, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import pictures, write_scenes
from PIL import Image

from lightning_artv import cli, load_system
from lightning_artv.checkpoints.file import load_part

CONFIGS = Path(__file__).parents[2] / "configs" / "videogen"
SIDE = 16
"""Of the cascade's frames; the base's are half as wide."""


def arguments(name: str, folder: Path, shards: Path, *more: str) -> list[str]:
    """A tiny run of a demo's configuration in a folder."""
    callbacks = [
        {"class_path": "lightning_artv.training.ema.EMA", "init_args": {"decay": 0.5}},
        {
            "class_path": "lightning_artv.training.samples.SampleLogger",
            "init_args": {"every_n_steps": 2, "clips": 1, "frames": 5},
        },
        {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
            "init_args": {"dirpath": str(folder), "filename": "last", "every_n_train_steps": 2},
        },
    ]
    system = "model.system.init_args"
    options: dict[str, Any] = {
        f"{system}.unet.init_args.channels": [8, 8],
        f"{system}.unet.init_args.norm_groups": 4,
        f"{system}.autoencoder.init_args.factor": 2,
        f"{system}.denoiser.clip_frames": 4,
        "data.train": str(shards),
        "data.val": str(shards),
        "data.size": SIDE if name == "demo_cascade" else SIDE // 2,
        "data.fps": "null",
        "data.batch_size": 2,
        "trainer.default_root_dir": str(folder),
        "trainer.max_steps": 2,
        "trainer.limit_val_batches": 1,
        "trainer.val_check_interval": 2,
        "trainer.callbacks": json.dumps(callbacks),
    }
    named = [f"--{option}={value}" for option, value in options.items()]
    return ["fit", "--config", str(CONFIGS / f"{name}.yaml"), *named, *more]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videogen") / "shards"
    write_scenes(folder, 4)
    return folder


@pytest.fixture(scope="module")
def base(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    assert cli.main(arguments("demo_base", folder, shards)) == 0
    return folder / "last.ckpt"


@pytest.fixture(scope="module")
def cascade(base: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cascade")
    start = f"--model.init_from={base}"
    assert cli.main(arguments("demo_cascade", folder, shards, start)) == 0
    return folder / "last.ckpt"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def generate(checkpoints: list[Path], out: Path, *more: str) -> int:
    words = ["generate", "--checkpoint", *map(str, checkpoints), "--prompt", "a dog"]
    return cli.main([*words, "--device", "cpu", "--frames", "5", "--output", str(out), *more])


def test_parts_say_what_they_are(base: Path, cascade: Path) -> None:
    assert load_system(base).part == "base" and load_part(cascade).part == "cascade-1"
    assert load_part(cascade).origin.size == (SIDE, SIDE)


def test_both_make_videos_in_any_order_and_the_base_alone_smaller_ones(
    base: Path, cascade: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--image", str(image))
    assert generate([base, cascade], tmp_path / "one", *given) == 0
    assert "note: Made without temporal super-resolution" in capsys.readouterr().err
    assert generate([cascade, base], tmp_path / "two", *given) == 0
    capsys.readouterr()
    assert generate([base], tmp_path / "alone", *given) == 0
    assert "note: Made without the cascade" in capsys.readouterr().err
    one, two, alone = (pictures(tmp_path / name) for name in ("one", "two", "alone"))
    assert one.shape == (5, SIDE, SIDE, 3) and (one == two).all()
    assert alone.shape == (5, SIDE // 2, SIDE // 2, 3)
    assert json.loads((tmp_path / "one.json").read_text())["fps"] == 4


@pytest.mark.parametrize(
    ("parts", "options", "sentence"),
    [
        ("base", (), "VideoGen starts from a picture: give one (--image)"),
        ("cascade", (), "holds the part 'cascade-1' of a system, which makes no videos alone"),
        ("base base", (), "is given twice"),
        ("base other", (), "are both the part base: give one"),
        ("base artv", (), "holds all of ARTV: give it alone"),
        ("base folder", (), "folder' are both the part base: give one"),
        ("base cascade", ("--set", "stages=3"), "stages is 3, but there are 2"),
        ("base cascade", ("--set", "passes=1"), "passes need temporal super-resolution"),
        ("base cascade", ("--set", "fps=0"), "fps must be"),
        ("base cascade", ("--size", "18x18"), "is not divisible by 4"),
    ],
)
def test_what_cannot_be_made_is_one_sentence_and_leaves_nothing(
    parts: str,
    options: tuple[str, ...],
    sentence: str,
    base: Path,
    cascade: Path,
    image: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from small_checkpoints import SMALL, write_checkpoint

    files = {"base": base, "cascade": cascade}
    if "other" in parts:
        files["other"] = tmp_path / "other.ckpt"
        files["other"].write_bytes(base.read_bytes())
    if "artv" in parts:
        files["artv"] = write_checkpoint(tmp_path / "artv.ckpt", SMALL)
    if "folder" in parts:
        files["folder"] = tmp_path / "folder"
        words = ["export", "--checkpoint", str(base), "--output", str(files["folder"])]
        assert cli.main(words) == 0
    given = () if parts == "base" else ("--image", str(image))
    capsys.readouterr()
    assert generate([files[p] for p in parts.split()], tmp_path / "out", *given, *options) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("error:") == 1 and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_short_videos_and_another_width_are_one_sentence(
    base: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "--data.windows.init_args.closest=9"
    far = "--data.windows.init_args.farthest=9"
    assert cli.main(arguments("demo_base", tmp_path / "a", shards, long, far)) == 5
    assert "28 frames" in capsys.readouterr().err
    wide = "--model.system.init_args.unet.init_args.channels=[16,16]"
    start = f"--model.init_from={base}"
    assert cli.main(arguments("demo_cascade", tmp_path / "b", shards, wide, start)) == 2
    error = capsys.readouterr().err
    assert "another architecture" in error and "Traceback" not in error
    assert torch.load(base, weights_only=True)["global_step"] == 2
