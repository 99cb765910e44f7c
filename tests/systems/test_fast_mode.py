"""Generation that costs a fifth, by settings alone: what each of them does and what it saves."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from make_system import MakeSystem

from benchmarks.counters import denoising_calls, frame_cost
from benchmarks.full_size import FAST, FULL, PAPER, SMALL, build
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.settings import ARTVSampling, Guidance
from lightning_artv.systems.base import Segment

EIGHT = ARTVSampling(steps=8, guidance=Guidance(0.25, 0.25, 2.0), noise_level=20)


def video(system: ARTV, settings: ARTVSampling) -> torch.Tensor:
    first = torch.full((1, 3, 16, 16), 90, dtype=torch.uint8)
    segments, g = [Segment(("a dog",), 3)], generators_for(0, ["x"])
    return torch.stack(list(system.generate(segments, g, (16, 16), first, settings)))


def test_guidance_outside_its_interval_is_not_evaluated() -> None:
    system = build(SMALL, "cpu")
    calls = denoising_calls(system, SMALL, dataclasses.replace(PAPER, steps=10))
    assert calls == [(4, "run")] * 10
    part = dataclasses.replace(PAPER, steps=10, guided_from=0.3, guided_to=0.6)
    rows = [rows for rows, _ in denoising_calls(system, SMALL, part)]
    assert rows == [1] * 4 + [4] * 3 + [1] * 3  # at t = 901, 801, ..., 1


def test_an_interval_of_all_levels_changes_nothing_and_an_empty_one_is_no_guidance(
    make_system: MakeSystem,
) -> None:
    system = make_system(opened=True)
    whole = video(system, EIGHT)
    none = dataclasses.replace(EIGHT, guidance=Guidance(0, 0, 0))
    empty = dataclasses.replace(EIGHT, guided_from=0.0, guided_to=0.0)
    half = dataclasses.replace(EIGHT, guided_from=0.3)
    assert torch.equal(video(system, empty), video(system, none))
    assert not torch.equal(video(system, half), whole)


def test_deep_blocks_run_at_every_so_many_steps_and_after_a_change_of_branches() -> None:
    system = build(SMALL, "cpu")
    settings = dataclasses.replace(PAPER, steps=10, guided_to=0.55, deep_every=3)
    expected = ["keep", "reuse", "reuse", "keep"] + ["keep", "reuse", "reuse"] * 2
    assert [deep for _, deep in denoising_calls(system, SMALL, settings)] == expected


def test_features_that_are_new_anyway_change_nothing(make_system: MakeSystem) -> None:
    """At the same `y_t` and t the shallow network answers as the whole one does."""
    system = make_system(opened=True).denoiser
    conditions = system.condition(
        torch.randn(2, 2, 12, 8, 8),
        torch.randn(2, 12, 8, 8),
        torch.tensor([3, 9]),
        generators_for(0, [0, 1]),
    )
    y_t, t, text = torch.randn(2, 12, 8, 8), torch.tensor([40, 700]), torch.randn(2, 5, 16)
    with torch.no_grad():
        encoded = system.encode((conditions, text))
        whole = system.denoise(y_t, t, encoded, "keep")
        again = system.denoise(y_t, t, encoded, "reuse")
        moved = system.denoise(1.1 * y_t, t, encoded, "reuse")
    torch.testing.assert_close(whole.clean, again.clean)
    assert (moved.clean - whole.clean).abs().max() > 1e-3


def test_the_fast_settings_cost_a_fifth_at_full_size() -> None:
    system, tiny = build(FULL, "meta"), build(SMALL, "cpu")
    exact, fast = (
        frame_cost(system, FULL, denoising_calls(tiny, SMALL, settings))
        for settings in (PAPER, FAST)
    )
    assert exact == pytest.approx(74.05e12, rel=0.002)
    assert exact / fast >= 5


@pytest.mark.parametrize(
    "change",
    [
        {"guided_from": -0.1},
        {"guided_to": 1.5},
        {"guided_from": 0.8, "guided_to": 0.2},
        {"deep_every": 0},
        {"deep_every": 1.5},
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(reversed(change))):
        ARTVSampling(**change)
