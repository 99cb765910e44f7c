"""The first noise of each clip (Eq. 5-7), and the steps that guide it (Eq. 8), by themselves."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_artv.systems.vidrd.noise import past_dependent_noise, reversed_noise
from lightning_artv.systems.vidrd.staging import StagedGuidance, guided_frames, guided_steps

FRAMES, VALUES = 8, 400_000


def drawn(seed: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(1, FRAMES, VALUES, generator=g)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_reversed_twice_is_the_noise_itself() -> None:
    noise = torch.randn(2, 5, 3, 4, 4)
    assert torch.equal(reversed_noise(reversed_noise(noise)), noise)
    assert torch.equal(reversed_noise(noise)[:, 0], noise[:, 4])


@settings(max_examples=12, derandomize=True, deadline=None)
@given(prompt_frames=st.integers(0, FRAMES), alpha=st.floats(0, 10))
def test_past_dependent_noise_is_what_training_showed(prompt_frames: int, alpha: float) -> None:
    first = drawn(0)
    second = past_dependent_noise(first, drawn(1), prompt_frames, alpha)
    third = past_dependent_noise(second, drawn(2), prompt_frames, alpha)
    kept = alpha / math.sqrt(1 + alpha**2)
    for frame in range(FRAMES):
        assert abs(float(third[0, frame].var()) - 1) < 0.01
        other = (frame + 3) % FRAMES
        assert abs(correlation(third[0, frame], third[0, other])) < 0.01
        mirrored = FRAMES - 1 - frame
        expected = kept ** ((frame >= prompt_frames) + (mirrored >= prompt_frames))
        assert abs(correlation(third[0, frame], first[0, frame]) - expected) < 0.01


def test_prompt_frames_take_the_noise_as_it_is_and_alpha_zero_nothing_of_it() -> None:
    noise, fresh = torch.randn(2, 8, 3), torch.randn(2, 8, 3)
    mixed = past_dependent_noise(noise, fresh, 3, 0.0)
    assert torch.equal(mixed[:, :3], noise.flip(1)[:, :3])
    assert torch.equal(mixed[:, 3:], fresh[:, 3:])
    assert torch.equal(past_dependent_noise(noise, fresh, 8, 0.0), noise.flip(1))
    assert torch.isfinite(past_dependent_noise(noise, fresh, 0, 1e300)).all()


@pytest.mark.parametrize(
    ("steps", "counts"),
    [(50, [20, 15, 10, 5, 0]), (30, [12, 9, 6, 3, 0]), (8, [4, 3, 2, 1, 0]), (4, [2, 2, 1, 1, 0])],
)
def test_steps_that_guide_each_frame(steps: int, counts: list[int]) -> None:
    assert [guided_steps(frame, steps, 4, 0.4) for frame in range(5)] == counts
    for step in range(steps):
        assert guided_frames(step, steps, 4, 0.4) == sum(step < count for count in counts)


@given(steps=st.integers(1, 1000), prompt_frames=st.integers(1, 16), percent=st.integers(0, 100))
def test_steps_that_guide_are_those_of_exact_arithmetic(
    steps: int, prompt_frames: int, percent: int
) -> None:
    for frame in range(prompt_frames):
        exact = percent * steps * (prompt_frames - frame)  # in hundredths of a prompt frame
        count = sum(step * 100 * prompt_frames < exact for step in range(steps))
        assert guided_steps(frame, steps, prompt_frames, percent / 100) == count


def test_only_what_guides_is_kept() -> None:
    guidance = StagedGuidance(10, 4, 0.4)
    latents = torch.arange(8.0).expand(1, 8)
    for step in range(10):
        assert guidance.revise(step, latents) is latents  # nothing before the first clip
    guidance.next_clip()
    assert {step: kept.shape[1] for step, kept in guidance.before.items()} == {
        0: 4, 1: 3, 2: 2, 3: 1,
    }  # fmt: skip
    assert guidance.revise(1, latents).tolist() == [[7, 6, 5, 3, 4, 5, 6, 7]]
    assert guidance.revise(4, latents) is latents
