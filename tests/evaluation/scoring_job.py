"""A scoring of made-up videos against a miniature of UCF-101."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from miniature import write_ucf101
from weight_files import write_i3d

from evaluation.meters import Weights
from evaluation.protocols import PRESETS
from evaluation.score import Scoring
from lightning_artv.media import open_writer

torch.set_num_threads(1)
CHANGES = ["count=6", "frames=9", "resolution=16", "splits=2"]
PROTOCOL = PRESETS["ucf101-2048"].with_changes(CHANGES)
PIXELS = PROTOCOL.with_changes(["metrics=flicker,drift,motion"])


def write_fakes(folder: Path, count: int, frames: int = 9, size: int = 20) -> Path:
    rng = np.random.default_rng(0)
    for number in range(count):
        with open_writer(folder / f"video{number}", 8, (size, size)) as writer:
            for _ in range(frames):
                writer.write(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ucf101(tmp_path_factory.mktemp("data"), ("Archery", "YoYo"), videos=4, frames=10)


@pytest.fixture(scope="module")
def i3d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_i3d(tmp_path_factory.mktemp("weights") / "tiny_i3d.pt")


@pytest.fixture
def job(data: Path, tmp_path: Path) -> Scoring:
    return Scoring(
        protocol=PIXELS,
        real=data,
        fake=write_fakes(tmp_path / "fakes", 6),
        name="model",
        weights=Weights(folder=tmp_path / "no-weights", clip=str(tmp_path / "no-clip")),
        device=torch.device("cpu"),
        batch_size=2,
        cache=tmp_path / "cache",
    )
