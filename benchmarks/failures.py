"""A week of training in which GPUs fail and GPUs are slow for a while, event by event.

All GPUs wait for each other at every step, so the slowest sets the pace and a failure stops all:
what was trained since the last whole checkpoint is trained again. Steps are far shorter than
everything else here and count as continuous work.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from statistics import fmean
from typing import Literal

HOUR, WEEK = 3600.0, 7 * 24 * 3600.0
Event = Literal["fails", "slows", "recovers"]


@dataclass(frozen=True)
class Machine:
    """What happens to a group of GPUs.

    Attributes:
        gpus: how many train together.
        failure_hours: mean hours between the failures of one GPU; infinite for none.
        restart: seconds from a failure until training goes on, without reading the checkpoint.
        slow_hours: mean hours between the slow spells of one GPU; infinite for none.
        slow_seconds: mean length of a slow spell.
        slow_speed: pace of a slow GPU, of 1.
    """

    gpus: int = 64
    failure_hours: float = math.inf
    restart: float = 300.0
    slow_hours: float = math.inf
    slow_seconds: float = HOUR
    slow_speed: float = 0.8

    @property
    def mean_time_between_failures(self) -> float:
        """Seconds, of all GPUs together."""
        return self.failure_hours * HOUR / self.gpus


@dataclass(frozen=True)
class Saving:
    """How checkpoints are written.

    Attributes:
        interval: seconds of work at full pace from one to the next.
        write: seconds for which all GPUs wait while one is written.
        read: seconds to read it after a restart.
    """

    interval: float
    write: float
    read: float = 0.0


@dataclass
class Progress:
    """Where a training stands, and where the time went; seconds.

    Attributes:
        kept: work that is in a checkpoint.
        since: work since then, which a failure loses.
        written: of the checkpoint that is being written.
        redone, stopped, saving, waiting: lost by work that failures undid, by restarts, by whole
            checkpoints, and by waiting for slow GPUs.
    """

    saves: Saving
    kept: float = 0.0
    since: float = 0.0
    written: float = 0.0
    redone: float = 0.0
    stopped: float = 0.0
    saving: float = 0.0
    waiting: float = 0.0

    def run(self, span: float, speed: float) -> None:
        """Train for `span` seconds at a pace, with checkpoints in between."""
        work, write = self.saves.interval, self.saves.write
        cycle = work / speed + write
        whole, rest = divmod(self.since / speed + self.written + span, cycle)
        before = self.kept + self.since
        writing = self.saving + self.written
        self.kept += whole * work
        self.saving += whole * write
        self.since = min(rest * speed, work)
        self.written = max(0.0, rest - work / speed)
        spent_writing = self.saving + self.written - writing
        self.waiting += span - spent_writing - (self.kept + self.since - before)

    def fail(self) -> None:
        """Lose what no checkpoint holds."""
        self.redone += self.since
        self.saving += self.written
        self.since = self.written = 0.0


def week(machine: Machine, saves: Saving, seed: int, span: float = WEEK) -> Progress:
    """What is trained in a span of time."""
    state, now, slow, ready = Progress(saves), 0.0, 0, 0.0
    for at, event in _events_of(machine, seed, span):
        end = min(at, span)
        state.stopped += max(0.0, min(end, ready) - now)
        began = max(now, ready)
        if end > began:
            state.run(end - began, machine.slow_speed if slow else 1.0)
        if at >= span:
            return state
        now = at
        if event == "fails":
            state.fail()
            ready = at + machine.restart + saves.read
        else:
            slow += 1 if event == "slows" else -1
    raise AssertionError("events never end")


def events(machine: Machine, rng: random.Random) -> Iterator[tuple[float, Event]]:
    """When GPUs fail, become slow and recover, in the order of time, without end."""
    order = count()  # of two at one time, the first that was told of
    heap: list[tuple[float, int, Event]] = []

    def add(now: float, mean: float, event: Event) -> None:
        at = now + rng.expovariate(1.0) * mean
        heapq.heappush(heap, (at, next(order), event))

    add(0.0, machine.mean_time_between_failures, "fails")
    between_spells = machine.slow_hours * HOUR / machine.gpus
    add(0.0, between_spells, "slows")
    while True:
        now, _, event = heapq.heappop(heap)
        yield now, event
        if event == "fails":
            add(now, machine.mean_time_between_failures, "fails")
        elif event == "slows":
            add(now, between_spells, "slows")
            add(now, machine.slow_seconds, "recovers")


@lru_cache(maxsize=5000)
def _events_of(machine: Machine, seed: int, span: float) -> tuple[tuple[float, Event], ...]:
    """Those of a span of time and the one that comes next: every saving meets the same."""
    found = []
    for at, event in events(machine, random.Random(seed)):
        found.append((at, event))
        if at >= span:
            break
    return tuple(found)


def lost(machine: Machine, saves: Saving, weeks: int, span: float = WEEK) -> float:
    """Mean share of the time that trains nothing that stays; the same weeks for every saving."""
    done = [week(machine, saves, seed, span) for seed in range(weeks)]
    return 1 - fmean(state.kept + state.since for state in done) / span


def best_interval(
    machine: Machine, write: float, read: float, intervals: Sequence[float], weeks: int
) -> tuple[float, float]:
    """Of some intervals the one that loses least, and what it loses."""
    losses = {i: lost(machine, Saving(i, write, read), weeks) for i in intervals}
    best = min(losses, key=lambda interval: losses[interval])
    return best, losses[best]


def young(write: float, between: float) -> float:
    """Young's interval (1974): `sqrt(2 d M)` for checkpoints of d seconds, failures M apart."""
    return math.sqrt(2 * write * between)


def daly(write: float, between: float) -> float:
    """Daly's interval (2006, Eq. 37); all of M where a checkpoint takes as long as 2 M."""
    if write >= 2 * between:
        return between
    x = math.sqrt(write / (2 * between))
    return young(write, between) * (1 + x / 3 + x * x / 9) - write


def expected_loss(saves: Saving, between: float, restart: float) -> float:
    """What is lost in the long run by failures alone, exactly (Daly 2006, Eq. 13)."""
    if math.isinf(between):
        return saves.write / (saves.interval + saves.write)
    recovered = math.exp((restart + saves.read) / between)
    cycle = between * recovered * math.expm1((saves.interval + saves.write) / between)
    return 1 - saves.interval / cycle


def full_pace_share(machine: Machine) -> float:
    """How much of the time no GPU is slow: spells come at random, so their number is Poisson's."""
    slow_at_once = machine.gpus * machine.slow_seconds / (machine.slow_hours * HOUR)
    return math.exp(-slow_at_once)
