"""Fréchet distances against closed forms, scipy and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_features import normal, relative
from torch import Tensor
from torchmetrics.image.fid import _compute_fid

from evaluation.statistics import (
    Gaussian,
    frechet_distance,
    frechet_distance_of_features,
    frechet_distance_of_moments,
)
from lightning_artv.errors import UserError

torch.set_num_threads(1)


def rotation(size: int, seed: int = 7) -> Tensor:
    return torch.linalg.qr(normal(size, size, seed=seed)).Q


# --- Fréchet: closed forms -----------------------------------------------------------------------


def commuting(size: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Covariances with common eigenvectors: the distance is |m|^2 + sum (sqrt a - sqrt b)^2."""
    q, a, b = rotation(size), torch.linspace(0.1, 3, size).double(), normal(size, seed=1).exp()
    mean_a, mean_b = normal(2, size, seed=2)
    truth = (mean_a - mean_b).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    return mean_a, q @ a.diag() @ q.T, mean_b, q @ b.diag() @ q.T, truth


def transported(size: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`C_b = T C_a T` with T > 0, not commuting: T is the optimal map, so the root is tr(C_a T)."""
    factor = normal(size, size, seed=3) / size**0.5
    cov_a = factor @ factor.T + 0.1 * torch.eye(size)
    q = rotation(size, seed=4)
    transport = q @ torch.linspace(0.5, 2, size).double().diag() @ q.T
    cov_b = transport @ cov_a @ transport
    mean_a, mean_b = normal(2, size, seed=5)
    root = (cov_a @ transport).trace()
    truth = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * root
    return mean_a, cov_a, mean_b, (cov_b + cov_b.T) / 2, truth


@pytest.mark.parametrize("case", [commuting, transported])
def test_frechet_of_closed_form_gaussians_in_400_dimensions(case):
    *moments, truth = case(400)
    assert relative(frechet_distance_of_moments(*moments), truth) < 1e-10


def test_frechet_of_an_ill_conditioned_closed_form():
    q, a = rotation(100), torch.logspace(0, -14, 100, dtype=torch.float64)
    b = a.flip(0)
    truth = (a.sqrt() - b.sqrt()).square().sum()
    zero = torch.zeros(100, dtype=torch.float64)
    value = frechet_distance_of_moments(zero, q @ a.diag() @ q.T, zero, q @ b.diag() @ q.T)
    assert relative(value, truth) < 1e-6


def test_frechet_of_disjoint_supports_is_the_sum_of_traces():
    """The product of the covariances is 0: rounding noise under a root would show here."""
    a, b = normal(300, 40), normal(300, 40, seed=1)
    a[:, 20:], b[:, :20] = 0, 0
    a, b = a @ rotation(40), b @ rotation(40)
    truth = a.var(dim=0).sum() + b.var(dim=0).sum() + (a.mean(0) - b.mean(0)).square().sum()
    assert relative(frechet_distance(Gaussian.of(a), Gaussian.of(b)), truth) < 1e-12


# --- Fréchet: others -----------------------------------------------------------------------------


def two_sets(samples: int, size: int) -> tuple[Tensor, Tensor]:
    spectrum = torch.arange(1, size + 1, dtype=torch.float64) ** -0.25
    a = normal(samples, size) * spectrum
    b = (normal(samples, size, seed=1) * spectrum) @ rotation(size) * 0.8 + 0.1
    return a, b


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(dim=0), x.T.cov()


def by_sqrtm(a: Tensor, b: Tensor) -> float:
    (mean_a, cov_a), (mean_b, cov_b) = moments(a), moments(b)
    root = np.trace(scipy.linalg.sqrtm((cov_a @ cov_b).numpy()).real)
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * root)


@pytest.mark.parametrize("samples", [16, 64, 400, 2048])
def test_frechet_agrees_with_sqrtm_and_torchmetrics(samples):
    a, b = two_sets(samples, 400)
    ours = frechet_distance(Gaussian.of(a), Gaussian.of(b))
    assert relative(by_sqrtm(a, b), ours) < 1e-6
    assert relative(_compute_fid(*moments(a), *moments(b)), ours) < 1e-6


@pytest.mark.parametrize(("n", "m"), [(2, 2), (16, 64), (64, 400), (401, 16), (399, 2048)])
def test_frechet_below_the_dimension_is_exact(n, m):
    """The nuclear norm of X Y^T knows no covariance, so nothing singular; also mixed."""
    a, b = two_sets(2048, 400)
    a, b = a[:n], b[:m]
    x, y = a - a.mean(0), b - b.mean(0)
    nuclear = np.linalg.norm((x @ y.T).numpy(), "nuc") / math.sqrt((n - 1) * (m - 1))
    truth = (a.mean(0) - b.mean(0)).square().sum() + x.square().sum() / (n - 1)
    truth = truth + y.square().sum() / (m - 1) - 2 * nuclear
    assert relative(frechet_distance(Gaussian.of(a), Gaussian.of(b)), truth) < 1e-11
    assert relative(frechet_distance_of_features(a, b), truth) < 1e-11


def test_few_samples_far_from_zero_are_exact():
    """Batch by batch, where rounding could leave variance that N samples do not have."""
    a, b = normal(16, 40) + 1e6, normal(24, 40, seed=1) + 1e6
    for one, two in ((a, b), (b, a)):
        parts = [sum(map(Gaussian.of, rows.split(3)), Gaussian.empty(40)) for rows in (one, two)]
        truth = frechet_distance_of_features(one, two)
        assert relative(frechet_distance(*parts), truth) < 1e-9


def test_frechet_of_a_full_and_a_flat_set():
    """The root has zero eigenvalues although one covariance is well-conditioned."""
    a, b = two_sets(500, 20)
    b = b @ (torch.arange(20) < 7).double().diag() @ rotation(20)
    x, y = a - a.mean(0), b - b.mean(0)
    root = np.linalg.norm((x @ y.T).numpy(), "nuc") / 499
    truth = (a.mean(0) - b.mean(0)).square().sum() + x.square().sum() / 499
    truth = truth + y.square().sum() / 499 - 2 * root
    for one, two in ((a, b), (b, a)):
        assert relative(frechet_distance(Gaussian.of(one), Gaussian.of(two)), truth) < 1e-12


@pytest.mark.parametrize("n", [30, 500])
def test_frechet_of_rank_deficient_features(n):
    """Columns that repeat others: the distance is that of the features left, in 20 dimensions."""
    a, b = two_sets(n, 20)
    wide = torch.cat([torch.eye(20), torch.zeros(20, 30)], dim=1).double() @ rotation(50)
    value = frechet_distance(Gaussian.of(a @ wide), Gaussian.of(b @ wide))
    assert relative(value, frechet_distance(Gaussian.of(a), Gaussian.of(b))) < 1e-9


def test_ddof_divides_the_scatter():
    a, b = two_sets(50, 8)
    cov = [np.cov(x.numpy().T, ddof=0) for x in (a, b)]
    truth = frechet_distance_of_moments(
        a.mean(0), torch.from_numpy(cov[0]), b.mean(0), torch.from_numpy(cov[1])
    )
    assert relative(frechet_distance(Gaussian.of(a), Gaussian.of(b), ddof=0), truth) < 1e-12
    few_a, few_b = a[:5], b[:6]
    of_features = frechet_distance_of_features(few_a, few_b, ddof=0)
    assert (
        relative(of_features, frechet_distance(Gaussian.of(few_a), Gaussian.of(few_b), ddof=0))
        < 1e-11
    )
    assert relative(of_features, frechet_distance_of_features(few_a, few_b)) > 0.01


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 30),
    m=st.integers(2, 30),
    size=st.integers(1, 12),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 1000),
)
def test_frechet_is_a_distance_that_ignores_rotation(n, m, size, scale, seed):
    a, b = normal(n, size, seed=seed) * scale, normal(m, size, seed=seed + 1) * scale + 1
    q = rotation(size, seed=seed)
    ab = float(frechet_distance(Gaussian.of(a), Gaussian.of(b)))
    total = float(a.var(0).sum() + b.var(0).sum()) + ab
    assert ab >= 0
    assert abs(float(frechet_distance(Gaussian.of(b), Gaussian.of(a))) - ab) < 1e-7 * total
    turned = frechet_distance(Gaussian.of(a @ q), Gaussian.of(b @ q))
    assert abs(float(turned) - ab) < 1e-7 * total
    assert 0 <= float(frechet_distance(Gaussian.of(a), Gaussian.of(a.flip(0)))) < 1e-7 * total
    assert abs(float(frechet_distance_of_features(a, b)) - ab) < 1e-7 * total


def test_frechet_refuses_what_it_cannot_compare():
    one, two, three = normal(1, 3), normal(2, 3), normal(9, 4)
    with pytest.raises(UserError, match="at least 2 samples, got 1"):
        frechet_distance(Gaussian.of(one), Gaussian.of(two))
    with pytest.raises(UserError, match="at least 2 samples, got 1"):
        frechet_distance_of_features(two, one)
    with pytest.raises(ValueError, match="one size"):
        frechet_distance(Gaussian.of(two), Gaussian.of(three))
    for wrong in (three, three[:2]):
        with pytest.raises(ValueError, match="one size"):
            frechet_distance_of_features(two, wrong)
    bad = torch.stack([two[0], torch.tensor([1.0, math.nan, 0.0]).double()])
    for broken in (bad, bad.nan_to_num(math.inf)):
        with pytest.raises(UserError, match="1 of 2 samples are not finite"):
            Gaussian.of(broken)
        with pytest.raises(UserError, match="not finite"):
            frechet_distance_of_features(two, broken)
    with pytest.raises(UserError, match="not finite"):
        frechet_distance_of_moments(two[0], torch.full((3, 3), math.inf), two[1], torch.eye(3))
