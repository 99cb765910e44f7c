"""A student under the shared commands: fitted, killed and resumed, generated, exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from commands import SIZE, generate, pictures, write_scenes
from forks import Forked, module
from waiting import wait_until

from lightning_artv import cli, load_system
from lightning_artv.systems.artv import ARTV

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "artv" / "distill.yaml"
TEACHER = ROOT / "models" / "shapes"
STEPS = 4


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distilled") / "shards"
    write_scenes(folder, 6)
    return folder


def arguments(folder: Path, shards: Path, *more: str) -> list[str]:
    """A tiny run of the shipped configuration."""
    options: dict[str, Any] = {
        "model.system.init_args.teacher.init_args.path": str(TEACHER),
        "model.system.init_args.teaching.first_steps": 4,
        "data.train": str(shards),
        "data.val": str(shards),
        "data.size": SIZE,
        "data.windows.init_args.targets": 2,
        "data.batch_size": 4,
        "data.val_batch_size": 2,
        "data.num_workers": 0,
        "trainer.default_root_dir": str(folder),
        "trainer.max_steps": STEPS,
        "trainer.limit_val_batches": 1,
        "trainer.val_check_interval": STEPS,
        "trainer.callbacks.samples.init_args.every_n_steps": STEPS,
        "trainer.callbacks.samples.init_args.frames": 3,
        "trainer.callbacks.checkpoint.init_args.every_n_train_steps": 1,
    }
    named = [f"--{name}={value}" for name, value in options.items()]
    return ["--config", str(CONFIG), *named, *more]


@pytest.fixture(scope="module")
def checkpoint(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    assert cli.main(["fit", *arguments(folder, shards)]) == 0
    return folder / "checkpoints" / "last.ckpt"


def test_its_checkpoint_is_a_system_of_the_teachers_kind(checkpoint: Path) -> None:
    student, teacher = load_system(checkpoint), load_system(TEACHER)
    assert isinstance(student, ARTV)
    assert (student.sampling.steps, student.sampling.first_steps) == (1, 2)
    assert student.origin.size == (SIZE, SIZE)
    moved = [
        name
        for name, value in student.state_dict().items()
        if not torch.equal(value, teacher.state_dict()[name])
    ]
    assert moved
    assert all(name.startswith("denoiser.") for name in moved)


def test_it_is_generated_from_and_exported(checkpoint: Path, tmp_path: Path) -> None:
    options = ["--frames", "3", "--seed", "3"]
    assert generate(checkpoint, tmp_path / "video", *options) == 0
    exported = ["export", "--checkpoint", str(checkpoint), "--output", str(tmp_path / "folder")]
    assert cli.main(exported) == 0
    assert generate(tmp_path / "folder", tmp_path / "again", *options) == 0
    assert np.array_equal(pictures(tmp_path / "video"), pictures(tmp_path / "again"))


def test_killed_and_resumed_it_goes_on_bit_for_bit(
    checkpoint: Path, shards: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    folder.mkdir()
    last = folder / "checkpoints" / "last.ckpt"
    words = ["fit", *arguments(folder, shards)]
    process = Forked(folder / "log", module, "lightning_artv", *words)
    wait_until(last.exists, "no checkpoint", process)
    process.kill()
    assert cli.main(["fit", *arguments(folder, shards, "--ckpt_path=last")]) == 0
    weights = [load_system(path).state_dict() for path in (last, checkpoint)]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())


def test_a_teacher_that_is_not_there_is_one_sentence(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = f"--model.system.init_args.teacher.init_args.path={tmp_path / 'gone'}"
    assert cli.main(["fit", *arguments(tmp_path, shards, gone)]) != 0
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert str(tmp_path / "gone") in said


def test_the_shipped_configuration_names_what_is_there() -> None:
    named = yaml.safe_load(CONFIG.read_text())["model"]["system"]["init_args"]["teacher"]
    assert (ROOT / named["init_args"]["path"]).resolve() == TEACHER.resolve()
