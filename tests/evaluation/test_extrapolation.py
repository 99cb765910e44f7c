"""FVD∞: the true distance is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from evaluation.statistics import fvd_infinity
from lightning_artv.errors import UserError

torch.set_num_threads(1)
SIZE, SAMPLES, TRUTH = 400, 2048, 50.0


def two_sets(
    spectrum: Tensor, samples: int, seed: int, truth: float = TRUTH
) -> tuple[Tensor, Tensor]:
    """Normal features with distributions `truth` apart: half by the mean, half by the scale."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, samples, len(spectrum), generator=generator, dtype=torch.float64)
    scale = 1 + math.sqrt(truth / 2 / float(spectrum.sum()))
    shift = torch.randn(len(spectrum), generator=generator, dtype=torch.float64)
    shift = shift * math.sqrt(truth / 2) / shift.norm()
    return a * spectrum.sqrt(), b * spectrum.sqrt() * scale + shift


FLAT = torch.full((SIZE,), 0.4, dtype=torch.float64)
DECAYING = 26 * torch.arange(1, SIZE + 1, dtype=torch.float64) ** -1.0


@pytest.mark.parametrize("spectrum", [FLAT, DECAYING], ids=["flat", "decaying"])
def test_a_true_distance_of_50_is_recovered(spectrum):
    result = fvd_infinity(*two_sets(spectrum, SAMPLES, seed=0))
    assert abs(result.value - TRUTH) < 4
    assert result.finite - TRUTH > 8  # what plain FVD says instead
    assert 0.1 < result.standard_error < 3
    assert abs(result.value - TRUTH) < 4 * result.standard_error
    assert result.reliable and result.sizes[0] == SAMPLES
    assert list(result.distances) == sorted(result.distances)


def test_unequal_sets_are_extrapolated_together():
    real, fake = two_sets(FLAT[:40] * 10, 3000, seed=1)
    result = fvd_infinity(real, fake[:800])
    assert abs(result.value - TRUTH) < 4 * result.standard_error
    assert result.sizes[0] == 800


def test_standard_errors_are_the_spread_of_repetitions():
    """Both of the extrapolated and of the plain distance, within what 60 repetitions can tell."""
    results = [fvd_infinity(*two_sets(DECAYING[:20], 400, seed=s)) for s in range(60)]
    for name, error in (("value", "standard_error"), ("finite", "finite_standard_error")):
        spread = float(torch.tensor([getattr(r, name) for r in results]).std())
        claimed = sum(getattr(r, error) for r in results) / len(results)
        assert 0.7 < claimed / spread < 1.5
    mean = sum(r.value for r in results) / len(results)
    assert abs(mean - TRUTH) < 4 * float(torch.tensor([r.value for r in results]).std()) / 60**0.5


def test_the_order_does_not_matter_but_the_seed_divides():
    real, fake = two_sets(FLAT[:6], 60, seed=2)
    there = fvd_infinity(real, fake)
    generator = torch.Generator().manual_seed(0)
    shuffle = torch.randperm(60, generator=generator)
    assert fvd_infinity(real[shuffle], fake[shuffle.flip(0)]) == there
    assert fvd_infinity(real, fake, seed=1) != there


def test_few_samples_are_said_or_refused():
    real, fake = two_sets(FLAT[:6], 24, seed=3)
    assert not fvd_infinity(real, fake).reliable  # quarters of 6 in 6 dimensions
    with pytest.raises(UserError, match="at least 16 fake samples, got 15"):
        fvd_infinity(real, fake[:15])
    with pytest.raises(UserError, match="not finite"):
        fvd_infinity(real, fake * math.nan)
