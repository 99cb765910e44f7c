"""Windows that serve several targets."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_artv.data.clips import choose_frames, choose_window
from lightning_artv.errors import UserError


@given(
    count=st.integers(2, 60),
    seed=st.integers(0, 10**6),
    targets=st.integers(1, 6),
    reach=st.integers(6, 12),
    start=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_every_target_of_a_window_is_a_right_example(
    count: int, seed: int, targets: int, reach: int, start: float
) -> None:
    window = choose_window(count, random.Random(seed), targets, reach, start)
    assert len(window.frames) == targets + 3 and len(window.choice) == targets
    roles = [tuple(window.frames[place] for place in places) for places in window.choice]
    first, one, two, anchor = roles[0]
    started = one == two
    assert one == first - 1 and two in (first - 2, first - 1)
    assert started or start < 1
    for k, (target, one, two, its_anchor) in enumerate(roles):
        assert target == min(first + k, count - 1) and its_anchor == anchor
        if target > first:
            assert (one, two) == (target - 1, target - 2)
        assert target - reach <= anchor < first
        assert not started or anchor == first - 1


@given(count=st.integers(2, 60), seed=st.integers(0, 10**6))
def test_one_target_is_the_usual_choice(count: int, seed: int) -> None:
    window = choose_window(count, random.Random(seed))
    assert window.frames == choose_frames(count, random.Random(seed)).indices
    assert window.choice == ((0, 1, 2, 3),)


def test_targets_cover_the_clip() -> None:
    seen = {choose_window(9, random.Random(i), 3).frames[:3] for i in range(300)}
    assert {frame for frames in seen for frame in frames} == set(range(1, 9))


@pytest.mark.parametrize("targets", [0, 11])
def test_more_targets_than_the_anchor_reaches_are_refused(targets: int) -> None:
    with pytest.raises(UserError, match="targets_per_window is"):
        choose_window(30, random.Random(0), targets)
