"""Which variant is best: the forms of the static noise in order, and the goal set for the best."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

from evaluation.ablations.arms import (
    LEVEL,
    Arm,
    Finding,
    amount,
    compare,
    higher_is_better,
    metric_title,
)
from evaluation.ablations.plan import BASE
from evaluation.ablations.reading import Grid, values
from evaluation.ablations.significance import holm

RANKED_BY = ("background_psnr@127", "FVD")
FORMS = {
    "posterior": BASE,
    "residual": "static_residual",
    "literal": "static_literal",
    "none": "no_mask",
}
"""Form of the static noise -> the variant that has it."""

BACKGROUND, DIRECTION = "background_psnr@127", "direction@128"
GOALS = {BACKGROUND: 20.0, DIRECTION: 0.9}
"""What the best variant is to reach: dB, and the share of right directions."""


def arm(grid: Grid, variant: str, metric: str, name: str | None = None) -> Arm:
    """A variant's values of a metric over the seeds."""
    found = values(grid.variants.get(variant, {}), metric)
    return Arm(name or variant, tuple(found), tuple(found.values()))


@dataclass(frozen=True)
class Ranking:
    """The forms of the static noise by one metric.

    Attributes:
        metric: of the order.
        order: forms, best first; those that were run.
        pairs: every two of them, the better first, corrected after Holm among themselves.
    """

    metric: str
    order: tuple[Arm, ...]
    pairs: tuple[Finding, ...]

    def sentence(self) -> str:
        """The winner, and by how much; who is ahead by chance has not won."""
        if len(self.order) < 2:
            return "Fewer than two forms of the static noise were run."
        first, second = self.order[:2]
        pair = next(
            p for p in self.pairs if {p.better.name, p.worse.name} == {first.name, second.name}
        )
        test = "" if pair.p_seeds is None else f" (p = {pair.p_seeds:.3g} over seeds)"
        others = ", ".join(f"{a.name} {a.text(self.metric)}" for a in self.order[1:])
        wins = "wins" if pair.p_seeds is not None and pair.p_seeds < LEVEL else "is only ahead"
        return (
            f"The {first.name} form {wins}: {metric_title(self.metric)} {first.text(self.metric)}, "
            f"{amount(self.metric, abs(pair.difference))} ahead of {second.name}{test}; the "
            f"others: {others}."
        )


def rank_forms(grid: Grid, metric: str) -> Ranking:
    """The forms that were run, best first, and all pairwise tests."""
    arms = [arm(grid, variant, metric, form) for form, variant in FORMS.items()]
    sign = 1 if higher_is_better(metric) else -1
    order = sorted((a for a in arms if a.values), key=lambda a: -sign * a.mean)
    pairs = [
        compare(
            f"{a.name} beats {b.name}",
            "ours",
            metric,
            (a.name, grid.variants[FORMS[a.name]]),
            (b.name, grid.variants[FORMS[b.name]]),
        )
        for a, b in itertools.combinations(order, 2)
    ]
    tested = [p.p_seeds for p in pairs if p.p_seeds is not None]
    corrected = iter(holm(tested))
    pairs = [
        p if p.p_seeds is None else dataclasses.replace(p, p_holm=next(corrected)) for p in pairs
    ]
    return Ranking(metric, tuple(order), tuple(pairs))


@dataclass(frozen=True)
class Goal:
    """What the best variant reaches of `GOALS`.

    Attributes:
        variant, title: the one that comes nearest.
        arms: goal -> its values over the seeds.
        baselines: clips that take no model -> their `BACKGROUND`.
    """

    variant: str
    title: str
    arms: dict[str, Arm]
    baselines: dict[str, float]

    @property
    def reached(self) -> bool:
        """Whether the means over the seeds reach every goal."""
        return all(self.arms[metric].mean >= goal for metric, goal in GOALS.items())

    def sentence(self) -> str:
        """What was aimed at and what is reached."""
        found = " and ".join(
            f"{metric_title(m)}: {a.text(m)} (goal: at least {amount(m, GOALS[m])})"
            for m, a in self.arms.items()
        )
        verb = "Reached" if self.reached else "Not reached"
        others = ", ".join(f"{n} {amount(BACKGROUND, v)}" for n, v in self.baselines.items())
        known = f" Without any model, {metric_title(BACKGROUND)}: {others}." if others else ""
        return f"{verb}: the best variant ({self.title}) has {found}.{known}"


def best_variant(grid: Grid) -> Goal | None:
    """The variant whose worse goal is nearest to what was aimed at; None where nothing was
    measured that far.
    """
    candidates = {
        name: {metric: arm(grid, name, metric) for metric in GOALS} for name in grid.variants
    }
    candidates = {n: arms for n, arms in candidates.items() if all(a.values for a in arms.values())}
    if not candidates:
        return None
    best = max(candidates, key=lambda n: min(a.mean / GOALS[m] for m, a in candidates[n].items()))
    run = next(iter(grid.variants[best].values()))
    known = {n: b.metrics for n, b in run.baselines.items() if BACKGROUND in b.metrics}
    reached = {name: metrics[BACKGROUND] for name, metrics in known.items()}
    return Goal(best, grid.titles[best], candidates[best], reached)
