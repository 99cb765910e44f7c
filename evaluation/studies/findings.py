"""Two arms of a comparison, their paired difference, and the verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.shapes.metrics_table import METRICS, Metric
from evaluation.studies.grid import BySeed, Numbers, values
from evaluation.studies.significance import (
    effect_size,
    interval,
    paired_t,
    pairs_needed,
    sign_flip,
)
from lightning_artv.pages.chart import places_of

REPRODUCED, UNDECIDED = "reproduced", "undecided"
CONTRADICTED, NOT_TESTED = "contradicted", "not tested"
LEVEL = 0.05
PLAIN = Metric("", "", True)
"""A number of a system's own: called by its name, without a unit, more is better."""


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better."""
    return METRICS.get(metric, PLAIN).higher_is_better


def metric_title(metric: str) -> str:
    """What a reader calls a metric."""
    return METRICS.get(metric, PLAIN).title or metric


def amount(metric: str, value: float, unit: bool = True, beside: float | None = None) -> str:
    """A number of a metric as text, with as many places as the number `beside` it."""
    of = METRICS.get(metric, PLAIN).unit
    if of in ("share", "of full range"):
        value, of = 100 * value, "%"
    places = {"%": 1, "dB": 2}.get(of, places_of(value if beside is None else beside))
    text = f"{round(value, places) + 0.0:.{places}f}".replace("-", "−")
    return f"{text} {of}".rstrip() if unit else text


@dataclass(frozen=True)
class Arm:
    """One side of a comparison.

    Attributes:
        name: how a sentence calls it.
        seeds: seeds of the runs.
        values: values of the metric, one per seed.
    """

    name: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds; NaN without one."""
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def sd(self) -> float:
        """Over the seeds, N - 1; NaN below two."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan

    def text(self, metric: str) -> str:
        """`mean ± sd`."""
        if not self.values:
            return "–"
        if len(self.values) < 2:
            return amount(metric, self.mean)
        sd = amount(metric, self.sd, beside=self.mean)
        return f"{amount(metric, self.mean, unit=False)} ± {sd}"


@dataclass(frozen=True)
class Finding:
    """A claim, what was measured, and the verdict.

    Attributes:
        claim: as a clause.
        source: where the paper says so, or `ours`.
        metric: the number that it is tested on.
        better, worse: the arm that the claim says is better, and the other; on common seeds.
        differences: one per seed, positive where the claim holds.
        p_seeds: p value of the paired t test; None with fewer than two seeds.
        p_clips: p value of the sign-flip test over `clips` clips; None for what clips do not have.
        p_holm: `p_seeds` corrected for the number of claims; None where it is not `primary`.
        primary: whether the claim's verdict is this one: the metric was named before it was run.
        note: what else a reader must know.
    """

    claim: str
    source: str
    metric: str
    better: Arm
    worse: Arm
    differences: tuple[float, ...]
    p_seeds: float | None
    p_clips: float | None = None
    clips: int = 0
    p_holm: float | None = None
    primary: bool = True
    note: str = ""

    @classmethod
    def untested(cls, claim: str, source: str, metric: str, reason: str) -> Finding:
        """A claim for which there are no numbers."""
        nothing = Arm("", (), ())
        return cls(claim, source, metric, nothing, nothing, (), None, note=reason)

    @property
    def difference(self) -> float:
        """The mean over the seeds, positive where the claim holds; NaN without a seed."""
        return float(np.mean(self.differences)) if self.differences else math.nan

    @property
    def effect(self) -> float | None:
        """Cohen's d over the seeds; None below two."""
        return effect_size(self.differences)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % confidence interval of the mean difference; None below two seeds."""
        return interval(self.differences)

    def interval_text(self) -> str:
        """`−0.40 to 1.20 dB`; `–` below two seeds."""
        if self.interval is None:
            return "–"
        beside = max(map(abs, self.interval))
        low, high = (amount(self.metric, end, False, beside) for end in self.interval)
        unit = amount(self.metric, 0.0, beside=beside).partition(" ")[2]
        return f"{low} to {high} {unit}".rstrip()

    @property
    def seeds_needed(self) -> int | None:
        """How many seeds find a difference of this size in four studies of five (power 0.8)."""
        return None if self.effect is None else pairs_needed(self.effect)

    @property
    def t(self) -> float:
        """Student's t, or the plain difference with one seed: orders comparisons by strength."""
        effect = self.effect
        return self.difference if effect is None else effect * math.sqrt(len(self.differences))

    @property
    def verdict(self) -> str:
        """What the seeds' test says at a level of 0.05."""
        if self.p_seeds is None:
            return NOT_TESTED
        if self.p_seeds >= LEVEL:
            return UNDECIDED
        return REPRODUCED if self.difference > 0 else CONTRADICTED

    def sentence(self, alone: bool = True) -> str:
        """One plain sentence with the numbers; the claim is left out unless it stands `alone`."""
        start = self.verdict.capitalize() + (f": {self.claim}" if alone else "")
        note = f"; {self.note}" if self.note else ""
        if not self.differences:
            return f"{start}{note}."
        count = len(self.differences)
        arms = ", ".join(f"{a.name} {a.text(self.metric)}" for a in (self.better, self.worse))
        found = (
            f"{metric_title(self.metric)}: {arms} over {count} seed{'s' if count > 1 else ''}, "
            f"{amount(self.metric, abs(self.difference), beside=self.better.mean)} "
            f"{'in favour' if self.difference > 0 else 'against'}"
        )
        if self.p_seeds is None:
            return f"{start}; {found}, without a test, which needs two seeds{note}."
        tests = f"95 % interval {self.interval_text()}; {p_text(self.p_seeds)} over seeds"
        if self.p_clips is not None:
            tests += f", {p_text(self.p_clips)} over {self.clips} clips"
        return f"{start}; {found} ({tests}){self._power()}{note}."

    def _power(self) -> str:
        """What an undecided test leaves open."""
        if self.verdict != UNDECIDED:
            return ""
        seeds = self.seeds_needed
        return "; no number of seeds would tell" if seeds is None else f"; {seeds} seeds would tell"


def p_text(p: float | None) -> str:
    """`p = 0.012`, or `p < 0.001`."""
    if p is None:
        return "–"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def compare(
    claim: str, source: str, metric: str, better: tuple[str, BySeed], worse: tuple[str, BySeed]
) -> Finding:
    """Test whether one arm (its name in a sentence, its runs) is better than the other."""
    first, second = values(better[1], metric), values(worse[1], metric)
    seeds = tuple(seed for seed in first if seed in second)
    if not seeds:
        absent = " and ".join(
            name for name, found in ((better[0], first), (worse[0], second)) if not found
        )
        reason = f"{metric_title(metric)} was not measured ({absent or 'no common seed'})"
        return Finding.untested(claim, source, metric, reason)
    arms = (
        Arm(better[0], seeds, tuple(first[s] for s in seeds)),
        Arm(worse[0], seeds, tuple(second[s] for s in seeds)),
    )
    found = seed_test(claim, source, metric, *arms)
    clips = clip_differences(
        {s: better[1][s].per_clip for s in seeds}, {s: worse[1][s].per_clip for s in seeds}, metric
    )
    return dataclasses.replace(found, p_clips=sign_flip(clips), clips=len(clips))


def seed_test(claim: str, source: str, metric: str, better: Arm, worse: Arm) -> Finding:
    """The test over seeds alone."""
    sign = 1 if higher_is_better(metric) else -1
    pairs = zip(better.values, worse.values, strict=True)
    differences = tuple(sign * (a - b) for a, b in pairs)
    return Finding(claim, source, metric, better, worse, differences, paired_t(differences))


def clip_differences(
    better: Mapping[int, Mapping[str, Numbers]],
    worse: Mapping[int, Mapping[str, Numbers]],
    metric: str,
) -> Numbers:
    """Differences, one per clip, averaged over the seeds; clips without a number left out.

    Returns:
        `[N]`; empty for a metric that clips do not have.
    """
    if not all(metric in arm[seed] for arm in (better, worse) for seed in better):
        return np.empty(0)
    each = np.stack([better[s][metric] - worse[s][metric] for s in better])
    mean: Numbers = each.mean(axis=0)
    return mean[~np.isnan(mean)]
