"""What the loader is compared with delivers the same frames, and is slower for a reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forks import ended

from benchmarks.loader import latent_shards, opened, peak_memory, rate, whole_clip
from benchmarks.originals import smaller
from lightning_artv.data.decode import Video
from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.shards import Place
from lightning_artv.data.tar import ShardWriter


def test_whole_clips_give_the_same_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (96, 48, 64, 3)).astype(np.uint8)
    with ShardWriter(tmp_path) as writer:
        writer.write("a", smaller(encode_lossless(frames, 24.0), gop=12), "a caption", {})
    dataset = opened(tmp_path, (32, 32))
    decoded: list[int] = []
    leave = Video.__exit__

    def counted(video: Video, *error: Any) -> None:
        decoded.append(video.decoded)
        leave(video, *error)

    monkeypatch.setattr(Video, "__exit__", counted)
    seen = set()
    for turn in range(8):
        ours, whole = dataset.read(Place(0, turn))[0], whole_clip(dataset, Place(0, turn))
        assert ours is not None and torch.equal(ours.frames, whole.frames)
        assert torch.equal(ours.choice, whole.choice) and ours.rate == whole.rate
        assert (ours.caption, ours.key) == (whole.caption, whole.key)
        seen.add(ours.frames.numpy().tobytes())
    assert len(seen) > 4 and len(decoded) == 8
    assert sum(decoded) < 0.6 * 8 * len(frames)


def test_latent_shards_are_read(tmp_path: Path) -> None:
    dataset = opened(latent_shards(tmp_path, 16))
    sample, _ = dataset.read(Place(3, 0))
    assert sample is not None and sample.frames.shape == (4, 8, 40, 40)


def test_rates_count_calls() -> None:
    asked: list[int] = []
    assert rate(asked.append, 120, 0.05) > 0
    assert set(asked) == set(range(120))


def _grow() -> None:
    before, held = peak_memory(os.getpid()), np.ones(50_000_000)
    print(peak_memory(os.getpid()) - before, len(held))


def test_peak_memory_is_this_process_s(tmp_path: Path) -> None:
    """In a process of its own: this one may have held more before."""
    grown, count = ended(tmp_path / "log", _grow).said.split()
    assert 0.5 * 8 * int(count) <= int(grown) <= 1.5 * 8 * int(count)
