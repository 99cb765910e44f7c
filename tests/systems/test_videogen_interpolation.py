"""A pass of temporal super-resolution: which frames it makes, and of which bands."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_artv.errors import UserError
from lightning_artv.systems.videogen.interpolation import (
    combined,
    frames_after,
    interleave,
    low_band,
    pairs,
    slerp,
)
from lightning_artv.systems.videogen.windows import TripletWindow


def test_three_passes_make_121_frames_of_16() -> None:
    assert [frames_after(16, passes) for passes in range(4)] == [16, 31, 61, 121]


@given(st.integers(1, 3), st.integers(2, 9))
def test_frames_made_stand_between_their_ends(batch: int, frames: int) -> None:
    clips = torch.arange(batch * frames).reshape(batch, frames, 1, 1, 1).float()
    first, last = pairs(clips)
    woven = interleave(clips, (first + last) / 2)
    assert woven.shape[1] == frames_after(frames, 1)
    assert torch.equal(woven[:, ::2], clips)
    assert torch.equal(woven[:, 1::2], (clips[:, 1:] + clips[:, :-1]) / 2)


def test_one_frame_has_nothing_between() -> None:
    with pytest.raises(UserError, match="give 2"):
        pairs(torch.zeros(1, 1, 3, 4, 4))


@given(st.sampled_from([1, 2, 4, 8]), st.integers(4, 17), st.integers(4, 17))
def test_the_bands_of_one_picture_make_it_again(factor: int, height: int, width: int) -> None:
    picture = torch.rand(2, 3, height, width)
    torch.testing.assert_close(combined(picture, picture, factor), picture)


def test_what_is_coarse_is_the_warped_pictures() -> None:
    warped, refined = torch.rand(2, 1, 3, 16, 16)
    flat = torch.full_like(refined, 0.3)
    expected = refined + 0.3 - low_band(refined, 4)
    torch.testing.assert_close(combined(flat, refined, 4), expected)
    # a constant added to the refined picture is in its low band, which is not taken
    torch.testing.assert_close(combined(warped, refined + 5, 4), combined(warped, refined, 4))
    checks = torch.zeros(1, 1, 8, 8)
    checks[..., ::2, ::2] = checks[..., 1::2, 1::2] = 1  # finer than 4 pixels: the refiner's
    torch.testing.assert_close(combined(torch.zeros_like(checks), checks, 4), checks - 0.5)
    assert torch.equal(low_band(checks, 1), checks)


def test_slerp_keeps_to_the_sphere() -> None:
    one, other = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    expected = torch.tensor([[3 / 2**0.5, 3 / 2**0.5]])
    torch.testing.assert_close(slerp(one, other), expected)
    torch.testing.assert_close(slerp(one, one), one)
    assert torch.equal(slerp(one, other, 0.0), one)


@given(st.integers(3, 40), st.integers(0, 2**32))
def test_a_triplet_is_two_ends_and_their_middle(count: int, seed: int) -> None:
    window = TripletWindow((1, 2, 4, 8)).choose(count, random.Random(seed))
    first, middle, last = window.frames
    assert middle - first == last - middle in (1, 2, 4, 8)
    assert first >= 0 and last < count
    assert window.choice == ((0, 1, 2),)


def test_every_gap_and_start_is_drawn() -> None:
    rng = random.Random(0)
    drawn = {TripletWindow((1, 3)).choose(8, rng).frames for _ in range(500)}
    assert drawn == {(i, i + 1, i + 2) for i in range(6)} | {(i, i + 3, i + 6) for i in range(2)}


@pytest.mark.parametrize("gaps", [(), (0,), (1, -2), (1.5,)])
def test_gaps_that_are_none_are_refused(gaps: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="gap"):
        TripletWindow(gaps)
    assert TripletWindow((2, 4)).least == 5
