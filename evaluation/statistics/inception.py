"""Inception Score (Salimans et al. 2016): `exp(E[KL(p(y|x) || p(y))])`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from evaluation.statistics.gaussian import Gaussian, finite
from evaluation.statistics.order import shuffled
from lightning_artv.errors import UserError

DIVISIONS = 20  # into splits, all counted
AVERAGED, ONCE = "averaged", "once"


def inception_score(
    probabilities: Tensor, splits: int = 1, seed: int = 0, division: str = AVERAGED
) -> Tensor:
    """The score of each split, float64 `[divisions, splits]`; the field reports their mean and sd.

    The value depends on `splits`: perfect one-hot outputs of 101 classes reach 98.6 with 2048
    videos in one split, about 77 in ten.

    `averaged` draws 20 divisions, because a single one moves the mean of ten splits by about 0.9 by
    chance alone. The order of the rows does not matter: they are ordered by their values first.

    `once` is what torch-fidelity computes: the rows as they come are shuffled once, by
    numpy's `RandomState(seed).permutation`, and cut at `i * N // splits`. The same rows in the same
    order with the same seed give the same number.

    Args:
        probabilities: `[N, classes]`, each row a distribution.
        splits: parts that are scored; with 1 there is one division, of all rows.
        seed: seed of the shuffling.
        division: `averaged` or `once`.

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
    if splits == 1:
        return _score(rows.mean(dim=0)).exp().reshape(1, 1)
    if division == ONCE:
        order = torch.from_numpy(np.random.RandomState(seed % 2**32).permutation(len(rows)))
        ends = [i * len(rows) // splits for i in range(1, splits)]
        return _scores(rows.cpu()[order].tensor_split(ends))[None]
    rows = shuffled(rows, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    orders = [torch.randperm(len(rows), generator=generator) for _ in range(DIVISIONS)]
    return torch.stack([_scores(rows[order].tensor_split(splits)) for order in orders])


def inception_score_of_gaussian(statistics: Gaussian) -> tuple[Tensor, Tensor]:
    """The score of one split and its standard error (delta method), float64 scalars.

    Args:
        statistics: statistics of the rows that `with_entropy` returns.

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


def _scores(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([_score(part.mean(dim=0)).exp() for part in parts])


def _score(mean: Tensor) -> Tensor:
    """The logarithm of the score from the mean of `with_entropy`'s rows."""
    return mean[-1] - torch.xlogy(mean[:-1], mean[:-1]).sum()
