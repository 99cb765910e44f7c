"""Frame choice: the paper's rules, checked over all clip lengths."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_artv.data.clips import choose_frames, timeline
from lightning_artv.errors import UserError


@given(
    count=st.integers(2, 60),
    window=st.integers(1, 15),
    start=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_a_choice_obeys_the_rules(count: int, window: int, start: float, seed: int) -> None:
    choice = choose_frames(count, random.Random(seed), window, start)
    i = choice.target
    assert 1 <= i < count
    if choice.references == (i - 1, i - 1):
        assert choice.anchor == i - 1
    else:
        assert i >= 2
        assert choice.references == (i - 1, i - 2)
        assert max(0, i - window) <= choice.anchor <= i - 1


def test_frame_one_always_follows_a_start() -> None:
    choice = choose_frames(2, random.Random(0), start_probability=0.0)
    assert choice.indices == (1, 0, 0, 0)


def test_targets_and_anchors_are_uniform_and_starts_as_frequent_as_asked() -> None:
    rng = random.Random(1)
    choices = [choose_frames(30, rng, anchor_window=5, start_probability=0.2) for _ in range(29000)]
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
    one, two = (choose_frames(40, random.Random("a"), 10, 0.1) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("bad", [{"anchor_window": 0}, {"start_probability": 1.5}])
def test_impossible_options_are_user_errors(bad: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(bad))):
        choose_frames(5, random.Random(0), **bad)  # type: ignore[arg-type]


def test_timeline_of_a_constant_rate() -> None:
    assert timeline([k / 24 for k in range(25)], 8) == [0, 3, 6, 9, 12, 15, 18, 21, 24]
    assert timeline([k / 8 + 5.5 for k in range(5)], 8) == [0, 1, 2, 3, 4]
    assert timeline([0.0, 0.1, 0.2], None) == [0, 1, 2]


def test_timeline_of_a_variable_rate_follows_time_not_counts() -> None:
    assert timeline([0.0, 0.02, 0.04, 0.5, 1.0], 2) == [0, 3, 4]


def test_timeline_of_a_slow_source_repeats_frames() -> None:
    assert timeline([0.0, 1.0], 4) == [0, 0, 0, 1, 1]


@given(
    gaps=st.lists(st.floats(0.001, 1.0), min_size=0, max_size=40),
    fps=st.floats(0.5, 60.0),
    start=st.floats(-5, 5),
)
def test_timeline_picks_the_nearest_frame(gaps: list[float], fps: float, start: float) -> None:
    times = [start]
    for gap in gaps:
        times.append(times[-1] + gap)
    ticks = timeline(times, fps)
    assert ticks[0] == 0
    for tick, chosen in enumerate(ticks):
        time = times[0] + tick / fps
        assert abs(times[chosen] - time) <= min(abs(t - time) for t in times) + 1e-8
    assert times[0] + len(ticks) / fps > times[-1] - 1e-5


@pytest.mark.parametrize("fps", [0.0, -8.0])
def test_an_impossible_rate_is_a_user_error(fps: float) -> None:
    with pytest.raises(UserError, match="fps"):
        timeline([0.0, 1.0], fps)
