"""Paired tests over seeds and over clips, in closed form or by counting."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FLIPS = 9_999
EXACT = 13
"""Up to this many differences every one of the 2^n flips is counted."""


def paired_t(differences: ArrayLike) -> float | None:
    """Two-sided p value of Student's t test that the mean difference is 0.

    Args:
        differences: `[N]`, one a pair; N - 1 degrees of freedom.

    Returns:
        In [0, 1]; None below two pairs. Equal differences give 0, or 1 where all are 0.
    """
    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        return None
    mean, sd = values.mean(), values.std(ddof=1)
    if sd <= 1e-12 * abs(mean):
        return 1.0 if mean == 0 else 0.0
    return t_two_sided(float(mean / sd * math.sqrt(len(values))), len(values) - 1)


def t_two_sided(t: float, df: int) -> float:
    """P(|T| >= |t|) of Student's t with a whole number of degrees of freedom.

    The finite series of Abramowitz & Stegun 26.7.3 (odd) and 26.7.4 (even).
    """
    if df < 1:
        raise ValueError(f"Student's t needs at least one degree of freedom, got {df}.")
    theta = math.atan(abs(t) / math.sqrt(df))
    cos = math.cos(theta)
    odd = df % 2
    term = total = cos if odd else 1.0
    for k in range(3 if odd else 2, df - 1, 2):
        term *= (k - 1) / k * cos * cos
        total += term
    series = math.sin(theta) * (total if df > 1 else 0.0)
    inside = 2 / math.pi * (theta + series) if odd else series
    return min(1.0, max(0.0, 1.0 - inside))


def sign_flip(differences: ArrayLike, seed: int = 0) -> float | None:
    """Two-sided p value of the sign-flip permutation test that differences are symmetric about 0.

    Args:
        differences: `[N]`, one a pair.
        seed: of the drawn flips, where N is above `EXACT`.

    Returns:
        In (0, 1]; None without a pair. The observed signs count as one of the flips.
    """
    values = np.asarray(differences, np.float64)
    if not len(values):
        return None
    if len(values) <= EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(values))))
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, (FLIPS, len(values))) * 2.0 - 1
        signs = np.concatenate([np.ones((1, len(values))), drawn])
    sums = np.abs(signs @ values)
    return float((sums >= sums[0] - 1e-9 * np.abs(values).sum()).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p values, in their order; in [0, 1]."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


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
    a, b = (_ranks(np.asarray(values, np.float64)) for values in (x, y))
    if len(a) != len(b) or len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        raise ValueError("A rank correlation needs two equally long sequences that vary.")
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])
