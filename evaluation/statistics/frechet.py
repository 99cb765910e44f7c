"""Fréchet distance between two Gaussians (Dowson & Landau 1982; Heusel et al. 2017 for FID):

    |m_a - m_b|^2 + tr(C_a) + tr(C_b) - 2 tr((C_a C_b)^(1/2))

No matrix square root is taken. With factors `C_a = A A^T` and `C_b = B B^T` the last trace is the
sum of the singular values of `A^T B`, which is also the sum of the square roots of the eigenvalues
of `A^T C_b A`. Covariances of full rank have Cholesky factors and take the second, faster way; all
others take the first, which stays exact where `C_a C_b` has zero eigenvalues, whose rounding errors
a square root would lift from 1e-16 to 1e-8.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evaluation.statistics.gaussian import Gaussian, finite

# Below this ratio of the extreme eigenvalues, rounding errors of the small ones begin to show.
WELL_CONDITIONED = 1e-10


def frechet_distance(a: Gaussian, b: Gaussian, ddof: int = 1) -> Tensor:
    """The distance of two sets, float64 scalar, never below 0.

    Exact also where a set has no more samples than dimensions, so that its covariance is singular.

    Args:
        a, b: statistics of features of one size, on one device.
        ddof: 1 divides the scatter by N - 1 (VideoGPT, TATS), 0 by N (StyleGAN-V, cd-fvd).

    Raises:
        ValueError: sizes that differ.
        UserError: fewer than two samples in a set.
    """
    return _distance(a.mean, a.covariance(ddof), b.mean, b.covariance(ddof))


def frechet_distance_of_moments(
    mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor
) -> Tensor:
    """The distance of means `[d]` and covariances `[d, d]` alone, float64 scalar, never below 0.

    Raises:
        ValueError: shapes that do not fit.
        UserError: a value that is not finite.
    """
    a, b = finite(covariance_a), finite(covariance_b)
    means = finite(torch.stack([mean_a, mean_b]))
    return _distance(means[0], a, means[1], b)


def frechet_distance_of_features(a: Tensor, b: Tensor, ddof: int = 1) -> Tensor:
    """The distance of two sets of features `[n, d]` and `[m, d]`, float64 scalar, never below 0.

    Equal to `frechet_distance`; with n and m up to d it never forms a `[d, d]` matrix.

    Raises:
        ValueError: sizes that differ.
        UserError: fewer than two samples in a set, or a value that is not finite.
    """
    size = a.shape[-1]
    if min(len(a), len(b)) < 2 or max(len(a), len(b)) > size or b.shape[-1] != size:
        return frechet_distance(Gaussian.of(a), Gaussian.of(b), ddof)
    a, b = finite(a), finite(b)
    x = (a - a.mean(dim=0)) / (len(a) - ddof) ** 0.5
    y = (b - b.mean(dim=0)) / (len(b) - ddof) ** 0.5
    traces = x.square().sum() + y.square().sum()
    return _sum(a.mean(dim=0) - b.mean(dim=0), traces, torch.linalg.svdvals(x @ y.T).sum())


def _distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    if not cov_a.shape == cov_b.shape == (len(mean_a), len(mean_b)):
        raise ValueError(
            f"Means and covariances must have one size, got {tuple(mean_a.shape)}, "
            f"{tuple(cov_a.shape)}, {tuple(mean_b.shape)} and {tuple(cov_b.shape)}."
        )
    root = _root_by_cholesky(cov_a, cov_b)
    if root is None:
        root = torch.linalg.svdvals(_factor(cov_a).T @ _factor(cov_b)).sum()
    return _sum(mean_a - mean_b, cov_a.trace() + cov_b.trace(), root)


def _sum(difference: Tensor, traces: Tensor, root: Tensor) -> Tensor:
    """The four terms; a distance is not negative, so that what rounding leaves below 0 is 0."""
    return (difference.square().sum() + traces - 2 * root).clamp(min=0)


def _root_by_cholesky(cov_a: Tensor, cov_b: Tensor) -> Tensor | None:
    """`tr((C_a C_b)^(1/2))` of well-conditioned covariances, None of all others."""
    factor, failed = torch.linalg.cholesky_ex(cov_a)
    if failed:
        return None
    eigenvalues = torch.linalg.eigvalsh(factor.T @ cov_b @ factor)
    if not eigenvalues[0] > WELL_CONDITIONED * eigenvalues[-1]:
        return None
    return eigenvalues.sqrt().sum()


def _factor(covariance: Tensor) -> Tensor:
    """`F` of shape `[d, r]` with `F F^T = covariance`, where r is its numerical rank.

    What `eigh` returns below its own precision is rounding error, not variance: the square roots
    of the d - N + 1 zero eigenvalues of N samples would add up.
    """
    values, vectors = torch.linalg.eigh(covariance)
    noise = len(covariance) * torch.finfo(values.dtype).eps * values[-1]
    kept = values > noise.clamp(min=0)
    return vectors[:, kept] * values[kept].sqrt()
