"""What was computed before the rebuild is computed still; see `tests/fixtures/before.py`.

On the machine type that the numbers were recorded on they are the same bits. Another CPU adds
floats in another order: there losses agree to 1e-6 (2e-7 to 8e-7 were seen without AVX2), denoising
steps to 1e-4, and pixels to one level.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import before
import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_artv import ARTVPipeline, load_system

RESULTS: dict[str, Any] = json.loads((before.BEFORE / "results.json").read_text())
SAME_MACHINE = before.machine() == RESULTS["machine"]


def same(seen: list[float], expected: list[float], rtol: float) -> None:
    """Equal to rounding: since then the networks' outputs are turned into clean latents, not noise,
    before Eq. 7, whose float32 leaves 1e-5 of the noise's error at the lowest level; until that
    change these numbers were equal bit for bit.
    """
    assert seen == pytest.approx(expected, rel=rtol, abs=1e-9)


def same_video(frames: Tensor, name: str) -> None:
    if SAME_MACHINE:
        assert before.digest(frames) == RESULTS["videos"][name]
    expected = np.load(before.BEFORE / "frames.npz")[name].astype(int)
    assert abs(frames.numpy().astype(int) - expected).max() <= 1


@pytest.mark.parametrize("name", before.SYSTEMS)
def test_training_and_generation_give_what_they_gave(name: str) -> None:
    trainer, losses = before.fit(before.SYSTEMS[name])
    same(losses, RESULTS["losses"][name], 2e-5)
    frames, steps = before.video(trainer.lightning_module.system)
    same(steps, RESULTS["steps"][name], 1e-4)
    same_video(frames, name)


def test_an_old_checkpoint_generates_what_it_generated(tmp_path: Path) -> None:
    path = before.unpacked(tmp_path / "old.pt")
    frames, steps = before.video(load_system(path, weights="raw"))
    same(steps, RESULTS["steps"][before.KEPT], 1e-4)
    same_video(frames, before.KEPT)
    average, raw = load_system(path), load_system(path, weights="raw")
    pairs = zip(average.parameters(), raw.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_a_run_goes_on_from_an_old_checkpoint(tmp_path: Path) -> None:
    path = before.unpacked(tmp_path / "old.pt")
    _, losses = before.fit(before.SYSTEMS[before.KEPT], before.STEPS + before.MORE, path)
    same(losses, RESULTS["resumed"], 2e-5)


def test_an_old_exported_folder_generates_what_it_generated() -> None:
    pipeline = ARTVPipeline.from_pretrained(before.BEFORE / "exported")
    frames, steps = before.video(pipeline.to_system())
    same(steps, RESULTS["steps"][before.KEPT], 1e-4)
    same_video(frames, before.KEPT)
