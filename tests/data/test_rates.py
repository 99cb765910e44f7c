"""The frame rate of a sample's frames travels with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_artv.batch import VideoBatch
from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.shards import ClipSettings, ShardDataset, collate
from lightning_artv.data.tar import ShardWriter
from lightning_artv.data.timeline import own_rate
from lightning_artv.systems.videogen.windows import SpacedFrames


@pytest.mark.parametrize(
    ("fps", "spacing", "rate"),
    [(None, 1.0, 10.0), (None, 2.5, 4.0), (5.0, 1.0, 5.0), (5.0, 2.0, 2.5)],
)
def test_a_sample_says_its_rate(
    fps: float | None, spacing: float, rate: float, tmp_path: Path
) -> None:
    clip = np.zeros((20, 16, 16, 3), np.uint8)
    clip += np.arange(20, dtype=np.uint8)[:, None, None, None] * 10
    with ShardWriter(tmp_path / "shards") as writer:
        for index in range(2):
            writer.write(f"c{index}", encode_lossless(clip, 10), "a", {})
    rule = SpacedFrames(3, spacing, spacing)
    batch = collate(list(ShardDataset(tmp_path / "shards", ClipSettings(rule, (16, 16), fps))))
    assert batch.rates is not None and batch.rates.tolist() == pytest.approx([rate, rate])
    seen = batch.frames[:, :, 0, 0, 0].float()
    steps = (seen[:, 2] - seen[:, 0]) / 2 / 10  # source frames between neighbours, at 10 a second
    assert torch.allclose(steps, torch.full((2,), 10 / rate), atol=0.51)


def test_rates_stay_with_their_windows() -> None:
    frames, choice = torch.zeros(3, 1, 3, 2, 2, dtype=torch.uint8), torch.zeros(3, 1, 1).long()
    batch = VideoBatch(frames, choice, ("",) * 3, ("a", "b", "c"), torch.tensor([4.0, 5.0, 6.0]))
    again = VideoBatch.cat([batch[1:], batch[:1]]).to("cpu")
    assert again.rates is not None and again.rates.tolist() == [5.0, 6.0, 4.0]
    unknown = VideoBatch(frames, choice, ("",) * 3, ("a", "b", "c"))
    assert VideoBatch.cat([batch, unknown]).rates is None and unknown[:1].rates is None


def test_a_single_frame_has_no_rate() -> None:
    assert own_rate([3.0]) == 0.0 and own_rate([1.0, 1.5, 2.0]) == 2.0
