"""Paired tests over seeds and over clips, by SciPy and statsmodels."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

MOST_PAIRS = 10_000
FLIPS = 9_999
EXACT = 13
"""Up to this many differences every one of the 2^n flips is counted."""


def paired_t(differences: ArrayLike) -> float | None:
    """Two-sided p value of Student's t test that the mean difference is 0.

    Args:
        differences: `[N]`, one per pair; N - 1 degrees of freedom.

    Returns:
        In [0, 1]; None below two pairs. Equal differences give 0, or 1 where all are 0.
    """
    effect = effect_size(differences)
    if effect is None or effect == 0 or math.isinf(effect):
        return None if effect is None else float(effect == 0)
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(np.asarray(differences, np.float64), 0).pvalue)


def interval(differences: ArrayLike, level: float = 0.95) -> tuple[float, float] | None:
    """Student's confidence interval of the mean difference; None below two pairs.

    Args:
        differences: `[N]`, one per pair; N - 1 degrees of freedom.
        level: share of such intervals that hold the true mean.
    """
    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        return None
    from scipy.stats import t

    mean, sd = float(values.mean()), float(values.std(ddof=1))
    reach = float(t.ppf((1 + level) / 2, len(values) - 1)) * sd / math.sqrt(len(values))
    return mean - reach, mean + reach


def pairs_needed(effect: float, power: float = 0.8, level: float = 0.05) -> int | None:
    """How many pairs the two-sided paired t test needs to find an effect with this power.

    Args:
        effect: Cohen's d, see `effect_size`.

    Returns:
        At least 2; None for no effect, and above `MOST_PAIRS`.
    """
    if math.isinf(effect):
        return 2
    from statsmodels.stats.power import TTestPower

    def found(pairs: int) -> float:
        return float(TTestPower().power(effect, pairs, level))

    pairs = bisect.bisect_left(range(MOST_PAIRS + 1), power, lo=2, key=found)
    return pairs if pairs <= MOST_PAIRS else None


def sign_flip(differences: ArrayLike, seed: int = 0) -> float | None:
    """Two-sided p value of the sign-flip permutation test that differences are symmetric about 0.

    Args:
        differences: `[N]`, one per pair.
        seed: seed of the drawn flips, where N is above `EXACT`.

    Returns:
        In (0, 1]; None without a pair. The observed signs count as one of the flips.
    """
    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        return 1.0 if len(values) else None
    if len(values) > EXACT:  # drawn here: SciPy's draws change with its version
        drawn = np.random.default_rng(seed).integers(0, 2, (FLIPS, len(values))) * 2.0 - 1
        sums = np.abs(np.concatenate([np.ones((1, len(values))), drawn]) @ values)
        return float((sums >= sums[0] - 1e-9 * np.abs(values).sum()).mean())
    from scipy.stats import permutation_test

    test = permutation_test(
        (values,), np.sum, permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    return float(test.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p values, in their order; in [0, 1]."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if len(p_values) else []


def effect_size(differences: ArrayLike) -> float | None:
    """Cohen's d of paired differences: their mean over their sd; None below two pairs."""
    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        return None
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    if sd <= 1e-12 * abs(mean):
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / sd


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; in [-1, 1].

    Raises:
        ValueError: unequal lengths, fewer than two points, or one side is constant.
    """
    from scipy.stats import spearmanr

    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(a) != len(b) or len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        raise ValueError("A rank correlation needs two equally long sequences that vary.")
    return float(spearmanr(a, b).statistic)
