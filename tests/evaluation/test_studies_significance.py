"""Paired tests, intervals and power, against SciPy, closed forms and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.studies.significance import (
    effect_size,
    holm,
    interval,
    paired_t,
    pairs_needed,
    sign_flip,
    spearman,
)

THREE = [2.341, -2.256, 0.718]
SEVEN = [0.301, 0.599, 0.026, -0.591, -0.155, -0.692, 0.36]


def drawn(count: int) -> np.ndarray:
    return np.round(np.random.default_rng(count).normal(0.3, 1, count), 3)


@pytest.mark.parametrize(
    ("differences", "over_seeds", "over_clips"),
    [
        (THREE, 0.8607547499645684, 0.75),
        (SEVEN, 0.9101165089977541, 0.921875),
        (drawn(13), 0.14321158584370808, 0.1416015625),
        (drawn(40), 0.22611874354914752, 0.2233),
    ],
)
def test_p_values_are_those_of_the_first_version(
    differences: list[float], over_seeds: float, over_clips: float
) -> None:
    """Its series and its counting were our own; the constants are what they gave."""
    assert paired_t(differences) == pytest.approx(over_seeds, abs=1e-12)
    assert sign_flip(differences) == pytest.approx(over_clips, abs=1e-12)


def test_paired_t_of_two_pairs_is_the_closed_form() -> None:
    """With one degree of freedom Student's t is Cauchy's distribution."""
    t = 2.0 / (math.sqrt(2) / math.sqrt(2))
    assert paired_t([1.0, 3.0]) == pytest.approx(1 - 2 / math.pi * math.atan(t))
    assert effect_size([1.0, 3.0]) == pytest.approx(math.sqrt(2))


def test_paired_t_at_its_ends() -> None:
    assert paired_t([]) is None and paired_t([3.0]) is None and effect_size([3.0]) is None
    assert paired_t([0.0, 0.0, 0.0]) == 1 and effect_size([0.0, 0.0]) == 0
    assert paired_t([-2.0, -2.0]) == 0 and effect_size([-2.0, -2.0]) == -math.inf


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
def test_few_sign_flips_are_all_counted(differences: list[int]) -> None:
    flips = itertools.product((1, -1), repeat=len(differences))
    sums = [abs(sum(a * b for a, b in zip(differences, signs, strict=True))) for signs in flips]
    expected = np.mean([s >= abs(sum(differences)) for s in sums])
    assert sign_flip(differences) == pytest.approx(expected)


def test_many_sign_flips_are_drawn_and_repeat() -> None:
    d = np.random.default_rng(0).normal(0.25, 1, 40)
    p = sign_flip(d)
    assert p == sign_flip(d) == sign_flip(-d)
    assert p == pytest.approx(scipy.stats.ttest_1samp(d, 0).pvalue, abs=0.03)
    assert sign_flip(d + 3) == pytest.approx(1 / 10_000)
    assert sign_flip([]) is None


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0] and holm([]) == []


def test_spearman_shares_ranks_among_ties() -> None:
    x, y = [1, 2, 2, 3, 5, 8], [0.3, 0.1, 0.5, 0.5, 0.9, 0.4]
    assert spearman(x, y) == pytest.approx(0.4852941176470589)
    with pytest.raises(ValueError, match="vary"):
        spearman([1, 2], [3, 3])


def test_an_interval_is_scipys_and_holds_the_true_mean_as_often_as_it_says() -> None:
    differences = [0.6, 0.4, 0.5, -0.1]
    expected = scipy.stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert interval(differences) == pytest.approx(tuple(expected))
    assert interval([1.0]) is None and interval([2.0, 2.0]) == (2.0, 2.0)
    noise = np.random.default_rng(0)
    ends = [interval(noise.normal(0.3, 1, 3)) for _ in range(1000)]
    assert np.mean([low <= 0.3 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.02)


def test_so_many_pairs_find_an_effect_in_four_of_five_studies() -> None:
    noise = np.random.default_rng(0)
    for effect, pairs in ((1.2, 8), (0.5, 34), (-0.5, 34)):
        assert pairs_needed(effect) == pairs  # Cohen (1988), two-sided, level 0.05, power 0.8
    found = [paired_t(noise.normal(1.2, 1, 8)) < 0.05 for _ in range(1000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)
    assert pairs_needed(math.inf) == 2 and pairs_needed(0.0) is None and pairs_needed(0.02) is None
