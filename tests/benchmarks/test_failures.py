"""The simulated weeks against what is known in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.failures import (
    HOUR,
    WEEK,
    Machine,
    Progress,
    Saving,
    daly,
    expected_loss,
    full_pace_share,
    lost,
    week,
    young,
)

machines = st.builds(
    Machine,
    gpus=st.integers(1, 512),
    failure_hours=st.floats(300, 1e5) | st.just(math.inf),
    restart=st.floats(0, 1e4),
    slow_hours=st.floats(300, 1e5) | st.just(math.inf),
    slow_seconds=st.floats(1, 1e5),
    slow_speed=st.floats(0.1, 1),
)
savings = st.builds(Saving, st.floats(60, 2e5), st.floats(0, 2e3), st.floats(0, 2e3))


@given(machines, savings, st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_every_second_of_a_week_is_accounted_for(m: Machine, saves: Saving, seed: int) -> None:
    done = week(m, saves, seed)
    lost = (done.redone, done.stopped, done.saving, done.waiting)
    assert sum((done.kept, done.since, done.written, *lost)) == pytest.approx(WEEK)
    assert min(done.kept, done.since, done.written, *lost) >= -1e-6 * WEEK
    assert done == week(m, saves, seed)


@given(savings, st.floats(0.1, 1), st.lists(st.floats(0, 1e6), max_size=6))
def test_progress_does_not_depend_on_where_it_is_looked_at(
    saves: Saving, speed: float, spans: list[float]
) -> None:
    often, once = Progress(saves), Progress(saves)
    for span in spans:
        often.run(span, speed)
    once.run(sum(spans), speed)
    close = pytest.approx(once.kept + once.since, abs=1e-3 * saves.interval)
    assert often.kept + often.since == close
    assert often.saving + often.written == pytest.approx(once.saving + once.written, abs=1e-3)


def test_a_week_by_hand() -> None:
    state = Progress(Saving(interval=100, write=10))
    state.run(105, 1.0)
    assert (state.kept, state.since, state.written) == (0, 100, 5)
    state.fail()  # the checkpoint was not whole
    assert (state.kept, state.redone, state.saving) == (0, 100, 5)
    state.run(50, 1.0)
    state.run(60, 0.5)  # 30 more, at half the pace
    assert (state.kept, state.since, state.waiting) == (0, 80, 30)
    state.run(50, 1.0)
    assert (state.kept, state.since, state.written) == (100, 20, 0)
    assert (state.waiting, state.saving) == (30, 15)


def test_without_failures_only_saving_is_lost() -> None:
    saves = Saving(interval=990, write=10)
    assert lost(Machine(), saves, 1, span=1e6) == pytest.approx(0.01, abs=1e-5)
    assert expected_loss(saves, math.inf, 0) == 0.01


@pytest.mark.parametrize("interval", [0.2, 1.0, 4.0])
@pytest.mark.parametrize(("write", "restart"), [(0.02, 0.01), (0.1, 0.3)])
def test_the_loss_is_daly_s(interval: float, write: float, restart: float) -> None:
    """Times in units of the time between failures; 20,000 failures."""
    gpus = Machine(64, failure_hours=64.0, restart=restart * HOUR)
    saves = Saving(interval * HOUR, write * HOUR, 0.02 * HOUR)
    found = lost(gpus, saves, 20, span=1000 * HOUR)
    assert found == pytest.approx(expected_loss(saves, HOUR, restart * HOUR), abs=0.006)


@given(st.floats(0.001, 0.3))
def test_daly_s_interval_loses_least(write: float) -> None:
    """In units of the time between failures, by the exact formula."""

    def at(interval: float) -> float:
        return expected_loss(Saving(interval, write), 1.0, 0.05)

    best = at(daly(write, 1.0))
    assert best <= at(young(write, 1.0)) + 1e-12
    assert best <= min(at(daly(write, 1.0) * 1.05**k) for k in range(-40, 41)) * 1.001


def test_the_simulation_loses_least_where_daly_says() -> None:
    gpus = Machine(64, failure_hours=640.0, restart=300.0)
    best = daly(60.0, gpus.mean_time_between_failures)
    losses = {f: lost(gpus, Saving(f * best, 60.0), 300) for f in (0.25, 0.5, 1.0, 2.0, 4.0)}
    assert min(losses, key=lambda factor: losses[factor]) == 1.0


def test_formulas_of_the_interval() -> None:
    assert young(8, 100) == 40
    assert daly(8, 100) == pytest.approx(40 * (1 + 0.2 / 3 + 0.04 / 9) - 8)
    assert daly(200, 100) == 100


def test_slow_gpus_slow_all() -> None:
    gpus = Machine(64, slow_hours=200.0, slow_seconds=HOUR, slow_speed=0.5)
    found = lost(gpus, Saving(HOUR, 0.0), 100)
    assert full_pace_share(gpus) == math.exp(-64 / 200)
    assert found == pytest.approx((1 - full_pace_share(gpus)) / 2, rel=0.05)
    assert lost(replace(gpus, slow_speed=1.0), Saving(HOUR, 0.0), 3) == pytest.approx(0, abs=1e-9)
