"""Inception Score (Salimans et al. 2016): `exp(E[KL(p(y|x) || p(y))])`."""

from __future__ import annotations

import torch
from torch import Tensor

from evaluation.statistics.gaussian import Gaussian, finite
from evaluation.statistics.order import shuffled
from lightning_artv.errors import UserError


def inception_score(probabilities: Tensor, splits: int = 1, seed: int = 0) -> Tensor:
    """The score of each split, float64 `[splits]`; the field reports their mean and sd.

    The value depends on `splits`: perfect one-hot outputs of 101 classes reach 98.6 with 2048
    videos in one split, 76.9 in ten. The order of the rows does not matter: splits are drawn by
    `shuffled`, and their sizes differ by at most one.

    Args:
        probabilities: `[N, classes]`, each row a distribution.

    Raises:
        ValueError: rows that are not distributions.
        UserError: fewer videos than splits, or a value that is not finite.
    """
    if splits < 1 or len(probabilities) < splits:
        raise UserError(
            f"An Inception Score in {splits} splits needs at least as many videos and one split, "
            f"got {len(probabilities)} videos; add videos or lower the splits."
        )
    rows = with_entropy(probabilities)
    parts = (rows if splits == 1 else shuffled(rows, seed)).tensor_split(splits)
    return torch.stack([_score(part.mean(dim=0)).exp() for part in parts])


def inception_score_of_gaussian(statistics: Gaussian) -> tuple[Tensor, Tensor]:
    """The score of one split and its standard error (delta method), float64 scalars.

    Args:
        statistics: of the rows that `with_entropy` returns.

    Raises:
        UserError: fewer than two videos.
    """
    covariance = statistics.covariance()
    score = _score(statistics.mean).exp()
    # KL of one video = sum p log p - sum p log(mean p), linear in the row: its variance is w^T C w.
    # A class that never occurs has no variance either.
    logs = statistics.mean[:-1].clamp(min=torch.finfo(torch.float64).tiny).log()
    weights = torch.cat([-logs, logs.new_ones(1)])
    variance = (weights @ covariance @ weights).clamp(min=0)
    return score, score * (variance / statistics.count).sqrt()


def with_entropy(probabilities: Tensor) -> Tensor:
    """Each row with its `sum p log p` appended: float64 `[N, classes + 1]`.

    The score is a function of this row's mean alone.

    Raises:
        ValueError: rows that are not distributions.
        UserError: a value that is not finite.
    """
    rows = finite(probabilities)
    if bool((rows < 0).any()) or bool(((rows.sum(dim=1) - 1).abs() > 1e-3).any()):
        raise ValueError("An Inception Score needs probabilities: rows not below 0 with sum 1.")
    return torch.cat([rows, torch.xlogy(rows, rows).sum(dim=1, keepdim=True)], dim=1)


def _score(mean: Tensor) -> Tensor:
    """The logarithm of the score from the mean of `with_entropy`'s rows."""
    return mean[-1] - torch.xlogy(mean[:-1], mean[:-1]).sum()
