"""The data's windows are those of the system, or the run says so before its first step."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch import Trainer
from stub_system import StubData, StubSystem

from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.tar import ShardWriter
from lightning_artv.data.windows import Window, Windows
from lightning_artv.errors import UserError
from lightning_artv.systems.artv.windows import NextFrame
from lightning_artv.training.module import VideoModule
from lightning_artv.training.windows import choose_windows


def write(folder: Path, videos: int, frames: int) -> None:
    data = encode_lossless(np.zeros((frames, 32, 32, 3), np.uint8), 8)
    with ShardWriter(folder) as writer:
        for number in range(videos):
            writer.write(f"k{number}", data, "a caption", {})


class Joint(Windows):
    """Three frames together, in one role each."""

    @property
    def least(self) -> int:
        return 3

    def choose(self, count: int, rng: random.Random) -> Window:
        start = rng.randint(0, count - 3)
        return Window((start, start + 1, start + 2), ((0, 1, 2),))


class JointSystem(StubSystem):
    windows = Joint  # type: ignore[assignment]


def test_a_system_brings_its_windows_where_the_data_names_none() -> None:
    data = VideoDataModule("absent")
    with pytest.raises(UserError, match=r"data\.windows is missing"):
        data.batches_a_pass()
    choose_windows(data, StubSystem())
    assert data.windows == NextFrame()
    own = VideoDataModule("absent", windows=NextFrame(targets=4))
    choose_windows(own, StubSystem())
    assert own.windows == NextFrame(targets=4)
    choose_windows(StubData(), StubSystem())  # which makes its batches itself


def test_windows_of_another_system_are_refused_before_the_first_step(tmp_path: Path) -> None:
    write(tmp_path, videos=2, frames=4)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    module = VideoModule(JointSystem())
    data = VideoDataModule(str(tmp_path), windows=NextFrame(), size=32, num_workers=0)
    with pytest.raises(UserError) as raised:
        trainer.fit(module, data)
    assert str(raised.value) == (
        "data.windows is NextFrame, which JointSystem does not understand: set "
        f"data.windows.class_path to {Joint.__module__}.Joint."
    )
    assert trainer.global_step == 0


def test_a_rule_unlike_artvs_needs_nothing_of_the_data(tmp_path: Path) -> None:
    """Other roles, another least number of frames."""
    write(tmp_path / "long", videos=3, frames=6)
    write(tmp_path / "short", videos=1, frames=2)
    for folder, used in (("long", 3), ("short", 0)):
        data = VideoDataModule(
            str(tmp_path / folder), size=32, fps=None, windows=Joint(), batch_size=3, num_workers=0
        )
        stream = data.train_dataloader()
        if not used:
            with (
                pytest.warns(UserWarning, match="fewer than 3 frames at its own fps"),
                pytest.raises(UserError, match=r"\(0 corrupt, 1 too short\)"),
            ):
                next(iter(stream))
            continue
        batch = next(iter(stream))
        assert batch.frames.shape == (3, 3, 3, 32, 32) and batch.choice.shape == (3, 1, 3)
        assert batch.gather(batch.frames).shape == (3, 3, 3, 32, 32)
