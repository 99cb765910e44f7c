"""Which variant is best: those that a study ranks in order, and the goal set for the best."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from evaluation.studies.claims import corrected
from evaluation.studies.findings import (
    LEVEL,
    Arm,
    Finding,
    amount,
    compare,
    higher_is_better,
    metric_title,
)
from evaluation.studies.grid import Grid, values
from evaluation.studies.study import Ranked


def arm(grid: Grid, variant: str, metric: str, name: str | None = None) -> Arm:
    """A variant's values of a metric over the seeds."""
    found = values(grid.variants.get(variant, {}), metric)
    return Arm(name or variant, tuple(found), tuple(found.values()))


@dataclass(frozen=True)
class Ranking:
    """A study's ranked variants by one metric.

    Attributes:
        ranked: what is in order.
        metric: metric of the order.
        order: best first; those that were run.
        pairs: every two of them, the better first, corrected after Holm among themselves.
    """

    ranked: Ranked
    metric: str
    order: tuple[Arm, ...]
    pairs: tuple[Finding, ...]

    def sentence(self) -> str:
        """The winner, and by how much; who is ahead by chance has not won."""
        if len(self.order) < 2:
            return f"Fewer than two {self.ranked.what} were run."
        first, second = self.order[:2]
        names = {first.name, second.name}
        pair = next(p for p in self.pairs if {p.better.name, p.worse.name} == names)
        test = "" if pair.p_seeds is None else f" (p = {pair.p_seeds:.3g} over seeds)"
        others = ", ".join(f"{a.name} {a.text(self.metric)}" for a in self.order[1:])
        wins = "wins" if pair.p_seeds is not None and pair.p_seeds < LEVEL else "is only ahead"
        return (
            f"The {first.name} {self.ranked.kind} {wins}: {metric_title(self.metric)} "
            f"{first.text(self.metric)}, {amount(self.metric, abs(pair.difference))} ahead of "
            f"{second.name}{test}; the others: {others}."
        )


def rankings(grid: Grid) -> list[Ranking]:
    """An order per metric; none where the study ranks nothing."""
    ranked = grid.study.ranked
    return [rank(grid, ranked, metric) for metric in ranked.metrics] if ranked else []


def rank(grid: Grid, ranked: Ranked, metric: str) -> Ranking:
    """The variants that were run, best first, and all pairwise tests."""
    arms = [arm(grid, variant, metric, name) for name, variant in ranked.names.items()]
    sign = 1 if higher_is_better(metric) else -1
    order = sorted((a for a in arms if a.values), key=lambda a: -sign * a.mean)
    pairs = [
        compare(
            f"{a.name} beats {b.name}",
            "ours",
            metric,
            *((side.name, grid.variants[ranked.names[side.name]]) for side in (a, b)),
        )
        for a, b in itertools.combinations(order, 2)
    ]
    return Ranking(ranked, metric, tuple(order), tuple(corrected(pairs)))


@dataclass(frozen=True)
class Goal:
    """What the best variant reaches of the study's goals.

    Attributes:
        title: title of the one that comes nearest.
        variant: its name.
        goals: metric -> what was aimed at.
        arms: metric -> its values over the seeds.
        baselines: clips that take no model -> what they reach of the first goal.
    """

    variant: str
    title: str
    goals: Mapping[str, float]
    arms: Mapping[str, Arm]
    baselines: Mapping[str, float]

    @property
    def reached(self) -> bool:
        """Whether the means over the seeds reach every goal."""
        return all(self.arms[metric].mean >= goal for metric, goal in self.goals.items())

    def sentence(self) -> str:
        """What was aimed at and what is reached."""
        found = " and ".join(
            f"{metric_title(m)}: {a.text(m)} (goal: at least {amount(m, self.goals[m])})"
            for m, a in self.arms.items()
        )
        verb, first = "Reached" if self.reached else "Not reached", next(iter(self.goals))
        others = ", ".join(f"{n} {amount(first, v)}" for n, v in self.baselines.items())
        known = f" Without any model, {metric_title(first)}: {others}." if others else ""
        return f"{verb}: the best variant ({self.title}) has {found}.{known}"


def best_variant(grid: Grid) -> Goal | None:
    """The variant whose worse goal is nearest to what was aimed at; None without goals, or where
    nothing was measured that far.
    """
    goals = grid.study.goals
    arms = {name: {m: arm(grid, name, m) for m in goals} for name in grid.variants}
    arms = {n: each for n, each in arms.items() if each and all(a.values for a in each.values())}
    if not arms:
        return None
    best = max(arms, key=lambda n: min(a.mean / goals[m] for m, a in arms[n].items()))
    first = next(iter(goals))
    others = next(iter(grid.variants[best].values())).baselines
    reached = {n: b.metrics[first] for n, b in others.items() if first in b.metrics}
    return Goal(best, grid.titles[best], goals, arms[best], reached)
