"""What the paper's Sec. 4.2 claims, and ours, each tested on the results of the grid.

A claim says that one arm is better than another on one metric. Its verdict rests on a paired t test
over training seeds; the test over clips (differences averaged over the seeds) says whether the same
trained models would do so on other clips.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.ablations.arms import (
    MASK_MEAN,
    Arm,
    Finding,
    compare,
    higher_is_better,
    seed_test,
)
from evaluation.ablations.plan import BASE
from evaluation.ablations.reading import BySeed, Grid, values, with_unguided
from evaluation.ablations.significance import holm, spearman

DRIFT = ("drift_background_psnr", "background_psnr@127", "FVD@128", "FVD")


@dataclass(frozen=True)
class Comparison:
    """A claim that one variant is better than another.

    Attributes:
        claim: as a clause.
        source: where the paper says so, or `ours`.
        better, worse: names of variants, and how a sentence calls them.
        metrics: each is a row of its own.
    """

    claim: str
    source: str
    better: tuple[str, str]
    worse: tuple[str, str]
    metrics: tuple[str, ...]


COMPARISONS = (
    Comparison(
        "the mask lowers drift",
        "Sec. 4.2, Fig. 8a, 10",
        (BASE, "with it"),
        ("no_mask", "without it"),
        DRIFT,
    ),
    Comparison(
        "the anchor lowers drift at 128 frames",
        "Sec. 4.2, Fig. 8a, 10",
        (BASE, "with it"),
        ("no_anchor", "without it"),
        DRIFT,
    ),
    Comparison(
        "noise augmentation lowers drift",
        "Sec. 4.2, Fig. 10",
        (BASE, "with it"),
        ("no_noise_augmentation", "without it"),
        DRIFT,
    ),
    Comparison(
        "noise levels up to 550 drift less than levels up to 100",
        "Sec. 3.3, 4",
        ("noise_levels_550", "550"),
        (BASE, "100"),
        DRIFT,
    ),
    Comparison(
        "noise on the references that are copied lowers drift",
        "ours",
        (BASE, "with it"),
        ("no_reference_noise", "without it"),
        DRIFT,
    ),
    Comparison(
        "training on references that the model made itself lowers drift",
        "ours",
        ("own_references", "with it"),
        (BASE, "without it"),
        DRIFT,
    ),
    Comparison(
        "the residual form of the static noise beats no mask",
        "Eq. 6, Fig. 8a",
        ("static_residual", "residual"),
        ("no_mask", "no mask"),
        ("background_psnr@127", "FVD"),
    ),
    Comparison(
        "the posterior form beats the residual one",
        "ours",
        (BASE, "posterior"),
        ("static_residual", "residual"),
        ("background_psnr@127", "FVD"),
    ),
    Comparison(
        "the sign as printed (literal) is worse than the sign that Fig. 4 implies (residual)",
        "ours",
        ("static_residual", "residual"),
        ("static_literal", "literal"),
        ("background_psnr@127", "FVD"),
    ),
    Comparison(
        "a mask for every channel beats one mask for all",
        "ours",
        (BASE, "one for each"),
        ("mask_channels_one", "one for all"),
        ("background_psnr@127",),
    ),
    Comparison(
        "an anchor out of the 10 frames before beats one out of 4",
        "Sec. 3.4",
        (BASE, "10 frames"),
        ("anchor_window_4", "4 frames"),
        ("background_psnr@127",),
    ),
)

T_TEST_METRICS = ("FVD", "background_psnr@15")
GUIDANCE = {
    "references": "background_psnr@15",
    "anchor": "background_psnr@15",
    "text": "direction@16",
}
"""Condition -> what guiding by it is to improve."""


def findings(grid: Grid) -> list[Finding]:
    """Every claim with its numbers and verdict, corrected for their number after Holm."""
    found = [
        compare(
            c.claim,
            c.source,
            metric,
            (c.better[1], grid.variants.get(c.better[0], {})),
            (c.worse[1], grid.variants.get(c.worse[0], {})),
        )
        for c in COMPARISONS
        for metric in c.metrics
    ]
    found += [interior_optimum(grid, metric) for metric in T_TEST_METRICS]
    found += [mask_rises(grid)]
    found += [
        guidance_helps(grid, condition, metric)
        for condition, metric in GUIDANCE.items()
        if f"guidance_{condition}" in grid.sweeps
    ]
    tested = [f for f in found if f.p_seeds is not None]
    corrected = holm([f.p_seeds for f in tested if f.p_seeds is not None])
    by_id = {id(f): p for f, p in zip(tested, corrected, strict=True)}
    return [dataclasses.replace(f, p_holm=by_id.get(id(f))) for f in found]


def interior_optimum(grid: Grid, metric: str) -> Finding:
    """Whether some t_test strictly inside the range beats both of its ends (Fig. 8b)."""
    claim, source = "the noise level t_test has an interior optimum", "Sec. 4.2, Fig. 8b"
    levels = _measured(grid.sweeps.get("t_test", {}), metric)
    if len(levels) < 3:
        return Finding.untested(claim, source, metric, "fewer than three noise levels were run")
    inside = list(levels)[1:-1]
    ends = (min(levels), max(levels))
    found = [_best_against(claim, source, metric, levels, inside, end) for end in ends]
    weakest = min(found, key=lambda f: f.t)
    best = _best_value(levels, list(levels), metric)
    each = ", ".join(f"{v:g}" for v in _chosen(levels, list(levels), metric, alone=True).values())
    note = f"best over all seeds at t_test = {best:g}, seed by seed at {each}"
    return dataclasses.replace(weakest, note=f"{note}; {weakest.note}")


def guidance_helps(grid: Grid, condition: str, metric: str) -> Finding:
    """Whether some weight above 0 beats none (Sec. 4.1)."""
    claim, source = f"guidance by the {condition} helps", "Sec. 4.1"
    levels = _measured(with_unguided(grid, f"guidance_{condition}"), metric)
    weights = [value for value in levels if value]
    if 0 not in levels or not weights:
        reason = "weight 0 and another one are needed"
        return Finding.untested(claim, source, metric, reason)
    found = _best_against(claim, source, metric, levels, weights, 0)
    best = _best_value(levels, list(levels), metric)
    return dataclasses.replace(found, note=f"best over all seeds at {best:g}; {found.note}")


def mask_rises(grid: Grid) -> Finding:
    """Whether the `residual` form's mask opens from the first denoising step to the last."""
    claim, source = "the mask's mean rises along denoising (residual form)", "Sec. 4.2, Fig. 4"
    runs = {s: r.mask for s, r in grid.variants.get("static_residual", {}).items() if r.mask}
    if not runs:
        return Finding.untested(claim, source, MASK_MEAN, "the residual form was not run")
    means = [mask["mean"] for mask in runs.values()]
    last = Arm("last step", tuple(runs), tuple(float(m[-1]) for m in means))
    first = Arm("first step", tuple(runs), tuple(float(m[0]) for m in means))
    ranks = [spearman(range(len(m)), m) if np.ptp(m) else 0.0 for m in means]
    note = f"Spearman's rank correlation with the step is {np.mean(ranks):.2f}"
    return dataclasses.replace(seed_test(claim, source, MASK_MEAN, last, first), note=note)


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
    picked = ", ".join(f"{v:g}" for v in dict.fromkeys(chosen.values()))
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
