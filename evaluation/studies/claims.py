"""What is claimed of a study, each claim tested on the results of the grid, and who is best.

A claim says that one arm is better than another on one metric. Its verdict rests on a paired t test
over training seeds; the test over clips (differences averaged over the seeds) says whether the same
trained models would do so on other clips.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.studies.findings import (
    Finding,
    compare,
    higher_is_better,
)
from evaluation.studies.grid import BySeed, Grid, values
from evaluation.studies.significance import holm


@dataclass(frozen=True)
class Comparison:
    """A claim that one variant is better than another.

    Attributes:
        claim: as a clause.
        source: where the paper says so, or `ours`.
        better, worse: names of variants, and how a sentence calls them.
        metrics: each is a row of its own; the first decides, and was named before anything ran.
    """

    claim: str
    source: str
    better: tuple[str, str]
    worse: tuple[str, str]
    metrics: tuple[str, ...]

    def __call__(self, grid: Grid) -> list[Finding]:
        """A finding per metric."""
        sides = [(word, grid.variants.get(name, {})) for name, word in (self.better, self.worse)]
        found = [compare(self.claim, self.source, metric, *sides) for metric in self.metrics]
        return first_decides(found)


@dataclass(frozen=True)
class InteriorOptimum:
    """A claim that some value strictly inside a sweep's range beats both of its ends.

    Attributes:
        claim, source: as in `Comparison`.
        sweep: name of the sweep.
        values: what its values are called, in "fewer than three ... were run".
        metrics: as in `Comparison`.
    """

    claim: str
    source: str
    sweep: str
    values: str
    metrics: tuple[str, ...]

    def __call__(self, grid: Grid) -> list[Finding]:
        """A finding per metric, also where the sweep was not run."""
        return first_decides([self.tested(grid, metric) for metric in self.metrics])

    def tested(self, grid: Grid, metric: str) -> Finding:
        """The weaker of the tests against the two ends."""
        levels = _measured(grid.sweeps.get(self.sweep, {}), metric)
        if len(levels) < 3:
            reason = f"fewer than three {self.values} were run"
            return Finding.untested(self.claim, self.source, metric, reason)
        inside, ends = list(levels)[1:-1], (min(levels), max(levels))
        found = [_best_against(self.claim, self.source, metric, levels, inside, e) for e in ends]
        weakest = min(found, key=lambda f: f.t)
        best = _best_value(levels, list(levels), metric)
        alone = _chosen(levels, list(levels), metric, alone=True).values()
        note = f"best over all seeds at {self.sweep} = {best:g}, seed by seed at {_listed(alone)}"
        return dataclasses.replace(weakest, note=f"{note}; {weakest.note}")


@dataclass(frozen=True)
class BetterThanZero:
    """A claim that some value of a sweep above 0 beats 0.

    Attributes:
        claim, source, sweep: as in `InteriorOptimum`.
        metric: what it is to improve.
    """

    claim: str
    source: str
    sweep: str
    metric: str

    def __call__(self, grid: Grid) -> list[Finding]:
        """One finding; none where the sweep was not planned."""
        return [self.tested(grid)] if self.sweep in grid.sweeps else []

    def tested(self, grid: Grid) -> Finding:
        """The best value above 0 against 0."""
        levels = _measured(grid.levels(self.sweep), self.metric)
        above = [value for value in levels if value]
        if 0 not in levels or not above:
            reason = "weight 0 and another one are needed"
            return Finding.untested(self.claim, self.source, self.metric, reason)
        found = _best_against(self.claim, self.source, self.metric, levels, above, 0)
        best = _best_value(levels, list(levels), self.metric)
        return dataclasses.replace(found, note=f"best over all seeds at {best:g}; {found.note}")


def first_decides(found: Sequence[Finding]) -> list[Finding]:
    """The first is the claim's; the others are looked at beside it."""
    return [dataclasses.replace(f, primary=i == 0) for i, f in enumerate(found)]


def findings(grid: Grid) -> list[Finding]:
    """Every claim of the study with its numbers and verdict, corrected for their number."""
    return corrected([finding for claim in grid.study.claims for finding in claim(grid)])


def corrected(found: Sequence[Finding]) -> list[Finding]:
    """The same with `p_holm`; those that decide a claim are one family."""
    p_holm = iter(holm([f.p_seeds for f in found if f.primary and f.p_seeds is not None]))
    return [
        dataclasses.replace(f, p_holm=next(p_holm)) if f.primary and f.p_seeds is not None else f
        for f in found
    ]


def _measured(levels: Mapping[float, BySeed], metric: str) -> dict[float, BySeed]:
    """A sweep in rising order, on the seeds that were measured at every value that ran at all."""
    kept = {
        value: {s: run for s, run in levels[value].items() if metric in run.metrics}
        for value in sorted(levels)
    }
    kept = {value: runs for value, runs in kept.items() if runs}
    common = set.intersection(*(set(runs) for runs in kept.values())) if kept else set()
    return {v: {s: r for s, r in runs.items() if s in common} for v, runs in kept.items() if common}


def _best_against(
    claim: str,
    source: str,
    metric: str,
    levels: dict[float, BySeed],
    candidates: Sequence[float],
    reference: float,
) -> Finding:
    """The best candidate against one level.

    A seed's candidate is the one that is best on average over the *other* seeds: a best value that
    is chosen on the numbers it is then tested on would win by chance alone.
    """
    chosen = _chosen(levels, candidates, metric)
    runs = {seed: levels[value][seed] for seed, value in chosen.items()}
    picked = _listed(dict.fromkeys(chosen.values()))
    found = compare(
        claim, source, metric, (f"at {picked}", runs), (f"at {reference:g}", levels[reference])
    )
    note = "each seed's level is chosen on the other seeds" if len(chosen) > 1 else ""
    return dataclasses.replace(found, note=note)


def _chosen(
    levels: dict[float, BySeed], candidates: Sequence[float], metric: str, alone: bool = False
) -> dict[int, float]:
    """Seed -> the candidate that is best on the other seeds; with `alone`, on that seed."""
    seeds = list(next(iter(levels.values())))
    chosen = {}
    for seed in seeds:
        others = [s for s in seeds if (s == seed) == alone] or [seed]
        kept = {v: {s: levels[v][s] for s in others} for v in candidates}
        chosen[seed] = _best_value(kept, candidates, metric)
    return chosen


def _best_value(levels: dict[float, BySeed], candidates: Sequence[float], metric: str) -> float:
    sign = 1 if higher_is_better(metric) else -1
    return max(candidates, key=lambda v: sign * np.mean(list(values(levels[v], metric).values())))


def _listed(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
