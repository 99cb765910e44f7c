"""Ranks with different numbers of validation samples, or none: the loss is that of one process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import uneven_validation
from forks import ended
from uneven_validation import SETS

from lightning_artv.batch import VideoBatch
from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.shards import ClipSettings, ShardDataset
from lightning_artv.data.stream import BatchStream, Position
from lightning_artv.data.tar import ShardWriter
from lightning_artv.data.together import Together
from lightning_artv.errors import DataError
from lightning_artv.systems.artv.windows import NextFrame

CLIPS = ClipSettings(NextFrame(), (8, 8), None)


def write(folder: Path, videos: int, corrupt: Sequence[int] = ()) -> Path:
    """Each video has another grey."""
    with ShardWriter(folder) as writer:
        for number in range(videos):
            frames = np.full((4, 8, 8, 3), 30 * number, np.uint8)
            data = b"no video" if number in corrupt else encode_lossless(frames, 8)
            writer.write(f"k{number}", data, f"caption {number}", {})
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for name, videos in {**SETS, "train": 4}.items():
        write(folder / name, videos)
    return folder


@pytest.fixture(scope="module")
def out(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    done = ended(folder / "log", uneven_validation.main, folder, shards)
    assert done.code == 0, done.said[-3000:]
    return folder


@pytest.mark.parametrize("val", list(SETS))
def test_each_sample_counts_once_on_two_ranks(shards: Path, out: Path, val: str) -> None:
    alone = uneven_validation.run(shards, val)
    seen: dict[str, Any] = torch.load(out / f"{val}.pt", weights_only=True)
    assert seen["validate"] == pytest.approx(alone["validate"], rel=1e-5)
    assert seen["test"] == pytest.approx(alone["test"], rel=1e-5)
    assert seen["steps"] == 2 and np.isfinite(seen["after"])


def streams(folder: Path, ranks: int) -> list[BatchStream]:
    data = ShardDataset(folder, CLIPS, max_corrupt_share=1.0)
    start = Position((0,) * ranks)
    return [BatchStream(data, 2, 0, rank, lambda: start, endless=False) for rank in range(ranks)]


def in_step(folder: Path, ranks: int) -> list[list[VideoBatch]]:
    """The batches of each rank; the ranks' answers are those of all, one round after another."""
    alone = [len(list(stream)) for stream in streams(folder, ranks)]
    most, found = max(alone), []
    for stream in streams(folder, ranks):
        rounds = iter(range(most + 1))
        found.append(list(Together(stream, lambda _, rounds=rounds: next(rounds) < most)))
    return found


@pytest.mark.filterwarnings("ignore:Skipped a corrupt")
@pytest.mark.parametrize(
    ("videos", "corrupt"), [(1, []), (3, []), (7, []), (4, [1, 3]), (5, [0, 2, 4]), (8, [1])]
)
def test_ranks_have_as_many_batches_and_each_sample_counts_once(
    tmp_path: Path, videos: int, corrupt: list[int]
) -> None:
    batches = in_step(write(tmp_path, videos, corrupt), ranks=2)
    assert len(batches[0]) == len(batches[1]) > 0
    counted = [key for rank in batches for batch in rank if not batch.padding for key in batch.keys]
    assert sorted(counted) == [f"k{n}" for n in range(videos) if n not in corrupt]
    assert not any(rank[0].padding for rank in batches if len(rank) > 1)


@pytest.mark.filterwarnings("ignore:Skipped a corrupt")
def test_a_set_without_a_usable_sample_stops_on_every_rank(tmp_path: Path) -> None:
    write(tmp_path, 4, [0, 1, 2, 3])
    for stream in streams(tmp_path, 2):
        with pytest.raises(DataError, match="None of the 4 samples"):
            list(Together(stream, lambda mine: mine))
