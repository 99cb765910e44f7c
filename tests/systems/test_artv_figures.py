"""The mask by denoising step, and that TensorBoard shows what it showed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import before
import board
import numpy as np
import pytest
import torch

from lightning_artv.figures import Histogram, Picture, Scalar
from lightning_artv.systems.artv.earlier import step_output
from lightning_artv.systems.artv.figures import BINS, KEPT_FRAMES, MaskedStep, MaskRecorder
from lightning_artv.training.callbacks import LossByTimestep, means

SHOWN: dict[str, Any] = board.shown()
SAME_MACHINE = before.machine() == SHOWN["machine"]


@pytest.mark.parametrize("system", board.SYSTEMS)
def test_tensorboard_shows_what_it_showed(system: str, tmp_path: Path) -> None:
    """The same tags, steps and values to rounding; the same pixels on the same machine."""
    seen, expected = board.run(system, tmp_path), SHOWN[system]
    assert {k: list(v) for k, v in seen.items()} == {k: list(v) for k, v in expected.items()}
    for kind in ("scalars", "histograms"):
        for tag, values in seen[kind].items():
            assert np.allclose(values, expected[kind][tag], rtol=1e-4, atol=1e-9), tag
    for tag, values in seen["images"].items():
        end = None if SAME_MACHINE else -1  # a digest of the pixels
        assert [v[:end] for v in values] == [v[:end] for v in expected["images"][tag]], tag


def step(frame: int, index: int, mask: torch.Tensor | None) -> MaskedStep:
    return MaskedStep(frame, index, 900 - 100 * index, torch.zeros(1), mask)


def test_means_and_pictures_by_step() -> None:
    recorder = MaskRecorder()
    for frame in range(3):
        for index, value in enumerate((0.0, 0.5, 1.0)):
            recorder(step(frame, index, torch.full((2, 1, 8, 8), value)))
    figures = recorder.figures()
    for index, value in enumerate((0.0, 0.5, 1.0)):
        assert figures[f"mask/mean/{index:03d}"] == Scalar(value)
        histogram = figures[f"mask/values/{index:03d}"]
        assert isinstance(histogram, Histogram)
        assert (histogram.values == value).all()
        assert len(histogram.values) == 2 * 128  # the first frame has nothing to copy
    strip, density = figures["mask/fig9"], figures["mask/fig4"]
    assert isinstance(strip, Picture) and isinstance(density, Picture)
    assert strip.pixels.shape == (20, 60, 3)
    assert [int(strip.pixels[10, 10 + 20 * i, 0]) for i in range(3)] == [0, 128, 255]
    cells = density.pixels[::8, ::8]
    assert cells.shape == (BINS, 3, 3)
    red = [np.argwhere((cells[:, c] == (255, 0, 0)).all(axis=1))[0, 0] for c in range(3)]
    assert red == [BINS - 1, BINS - 1 - BINS // 2, 0]


def test_what_is_kept_does_not_grow_with_the_frames() -> None:
    recorder = MaskRecorder()
    for frame in range(1, KEPT_FRAMES + 9):
        recorder(step(frame, 0, torch.full((1, 1, 100, 100), 0.5)))
    values = recorder.figures()["mask/values/000"]
    assert isinstance(values, Histogram)
    assert len(values.values) == KEPT_FRAMES * 3334  # every third of 10000
    assert recorder.numbers()["mask"]["mean"] == [0.5]


def test_numbers_are_counted_over_frames_and_batches() -> None:
    recorder = MaskRecorder()
    low, high = torch.full((5, 2, 4, 4), 0.12), torch.full((1, 2, 4, 4), 0.98)
    recorder(step(0, 0, high))  # the given frame
    for mask in (low, high):
        for index in (1, 0):
            recorder(step(4, index, mask))
    recorder(step(5, 0, torch.ones(2, 2, 4, 4)))
    numbers = recorder.numbers()["mask"]
    assert numbers["timesteps"] == [900, 800]
    assert numbers["mean"] == pytest.approx([(5 * 0.12 + 0.98 + 2) / 8, (5 * 0.12 + 0.98) / 6])
    assert len(numbers["histogram"][0]) == 20
    assert numbers["histogram"][1][2] == pytest.approx(5 / 6)
    assert numbers["histogram"][0][-1] == pytest.approx(3 / 8)
    pictures = recorder.arrays(8)["masks"]
    assert pictures.shape == (2, 4, 8, 8) and pictures.dtype == np.uint8
    assert set(pictures.flatten().tolist()) == {31}  # of the first batch, 0.12 * 255


def test_without_a_mask_there_is_nothing_to_show() -> None:
    recorder = MaskRecorder()
    recorder(step(4, 0, None))
    assert recorder.figures() == {} == recorder.arrays(8)
    assert recorder.numbers() == {"mask": None}


def test_batches_in_an_earlier_checkpoint_are_counted_still() -> None:
    """A run that goes on averages over them too."""
    old = {
        "per_sample": torch.tensor([1.0, 3.0]),
        "timesteps": torch.tensor([249, 750]),
        "mask_mean": torch.tensor([0.5, 0.25]),
    }
    callback = LossByTimestep()
    callback.load_state_dict({"outputs": [old]})
    again = LossByTimestep()
    again.load_state_dict(callback.state_dict())
    assert list(again._outputs[0]["values"]) == ["loss", "mask"]
    assert list(step_output({**old, "mask_mean": None})["values"]) == ["loss"]
    assert means(again._outputs, lambda sums: sums) == {
        "train/loss_q1": 1.0,
        "train/loss_q4": 3.0,
        "train/mask_q1": 0.5,
        "train/mask_q4": 0.25,
    }
