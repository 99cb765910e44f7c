"""Frame choice: the paper's rules, checked over all clip lengths; windows of several targets."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_artv.batch import VideoBatch
from lightning_artv.errors import UserError
from lightning_artv.systems.artv.windows import NextFrame, in_roles

DIGEST = "ea4a05bdb61a2839a14138da04d3f6713db04277144b39bf31f77d13a67ac237"


@given(
    count=st.integers(2, 60),
    window=st.integers(1, 15),
    start=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_a_choice_obeys_the_rules(count: int, window: int, start: float, seed: int) -> None:
    choice = NextFrame(1, window, start).choose_frames(count, random.Random(seed))
    i = choice.target
    assert 1 <= i < count
    if choice.references == (i - 1, i - 1):
        assert choice.anchor == i - 1
    else:
        assert i >= 2
        assert choice.references == (i - 1, i - 2)
        assert max(0, i - window) <= choice.anchor <= i - 1


def test_frame_one_always_follows_a_start() -> None:
    choice = NextFrame(start_probability=0.0).choose_frames(2, random.Random(0))
    assert choice.indices == (1, 0, 0, 0)


def test_targets_and_anchors_are_uniform_and_starts_as_frequent_as_asked() -> None:
    rng = random.Random(1)
    rule = NextFrame(anchor_window=5, start_probability=0.2)
    choices = [rule.choose_frames(30, rng) for _ in range(29000)]
    targets = Counter(c.target for c in choices)
    assert set(targets) == set(range(1, 30))
    assert max(abs(n - 1000) for n in targets.values()) < 160  # 5 standard deviations
    late = [c for c in choices if c.target >= 2]
    starts = sum(c.references[0] == c.references[1] for c in late) / len(late)
    assert starts == pytest.approx(0.2, abs=0.015)
    usual = [c for c in late if c.target >= 5 and c.references[0] != c.references[1]]
    distances = Counter(c.target - c.anchor for c in usual)
    assert set(distances) == {1, 2, 3, 4, 5}
    assert all(n / len(usual) == pytest.approx(0.2, abs=0.02) for n in distances.values())


def test_the_choice_depends_on_the_generator_only() -> None:
    one, two = (NextFrame().choose_frames(40, random.Random("a")) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("bad", [{"anchor_window": 0}, {"start_probability": 1.5}])
def test_impossible_options_are_user_errors(bad: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(bad))):
        NextFrame(**bad)  # type: ignore[arg-type]


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
    window = NextFrame(targets, reach, start).choose(count, random.Random(seed))
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
    window = NextFrame().choose(count, random.Random(seed))
    assert window.frames == NextFrame().choose_frames(count, random.Random(seed)).indices
    assert window.choice == ((0, 1, 2, 3),)


def test_targets_cover_the_clip() -> None:
    seen = {NextFrame(3).choose(9, random.Random(i)).frames[:3] for i in range(300)}
    assert {frame for frames in seen for frame in frames} == set(range(1, 9))


@pytest.mark.parametrize("targets", [0, 11])
def test_more_targets_than_the_anchor_reaches_are_refused(targets: int) -> None:
    with pytest.raises(UserError, match=f"A window of {targets} targets"):
        NextFrame(targets)


def test_the_same_seeds_choose_the_frames_that_they_chose() -> None:
    """The digest is of version 0.1's choices."""
    digest = hashlib.sha256()
    for number in range(400):
        draw = random.Random(f"case {number}")
        count, targets, reach = draw.randint(2, 60), draw.randint(1, 6), draw.randint(6, 12)
        window = NextFrame(targets, reach, draw.choice([0.0, 0.1, 0.6])).choose(
            count, random.Random(number)
        )
        digest.update(repr((window.frames, window.choice)).encode())
    assert digest.hexdigest() == DIGEST


def test_a_batch_is_gathered_by_role_whatever_its_windows_share() -> None:
    """Two windows of two targets; frames are told by their numbers."""
    values = torch.arange(10).reshape(2, 5)
    choice = torch.tensor([[[0, 2, 3, 4], [1, 0, 2, 4]], [[1, 3, 3, 0], [0, 1, 2, 4]]])
    frames = torch.zeros(2, 5, 3, 1, 1, dtype=torch.uint8)
    batch = VideoBatch(frames, choice, ("", ""), ("a", "b"))
    roles = in_roles(batch, values)
    assert roles.target.tolist() == [0, 1, 6, 5]
    assert roles.references.tolist() == [[2, 3], [0, 2], [8, 8], [6, 7]]
    assert roles.anchor.tolist() == [4, 4, 5, 9]
    with pytest.raises(ValueError, match="expected \[N, K, 4\]"):
        in_roles(replace(batch, choice=choice[..., :3]))
