"""The frames of a video at a rate."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_artv.data.timeline import timeline
from lightning_artv.errors import UserError


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


@given(
    gaps=st.lists(st.sampled_from([0.0, 0.125, 0.04, 1 / 3, 1.0]), max_size=60),
    fps=st.sampled_from([8.0, 3.0, 24.0, 29.97, 0.5]),
)
def test_timeline_of_one_tick_after_another(gaps: list[float], fps: float) -> None:
    """Of two frames that are equally near the earlier one."""
    times = [1.5, *(1.5 + sum(gaps[: k + 1]) for k in range(len(gaps)))]

    def nearest(time: float) -> int:
        after = min(bisect_left(times, time), len(times) - 1)
        is_before = after > 0 and time - times[after - 1] <= times[after] - time + 1e-9
        return after - is_before

    count = int((times[-1] - times[0]) * fps + 1e-6) + 1
    assert timeline(times, fps) == [nearest(times[0] + k / fps) for k in range(count)]


@pytest.mark.parametrize("fps", [0.0, -8.0])
def test_an_impossible_rate_is_a_user_error(fps: float) -> None:
    with pytest.raises(UserError, match="fps"):
        timeline([0.0, 1.0], fps)
