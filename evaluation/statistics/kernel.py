"""Kernel distance (KID, Bińkowski et al. 2018; KVD on video features, Unterthiner et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evaluation.statistics.gaussian import finite
from lightning_artv.errors import UserError

BLOCK = 512  # rows of the kernel matrix that exist at a time


@dataclass(frozen=True)
class KernelDistance:
    """A squared maximum mean discrepancy.

    Attributes:
        value: the unbiased estimate; around 0 for equal distributions, there also negative.
        standard_error: error to first order in 1/N.
    """

    value: float
    standard_error: float


def kernel_distance(real: Tensor, fake: Tensor) -> KernelDistance:
    """Unbiased squared MMD of features `[n, d]` and `[m, d]`, kernel `(x·y / d + 1)^3`.

    All pairs count, none is drawn by chance; the time grows with (n + m)^2, the memory with n + m.

    Raises:
        ValueError: sizes that differ.
        UserError: fewer than two samples in a set, or a value that is not finite.
    """
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(f"Features of sizes {tuple(real.shape)} and {tuple(fake.shape)}.")
    if min(len(real), len(fake)) < 2:
        raise UserError(
            f"A kernel distance needs at least 2 samples per set, got {len(real)} real and "
            f"{len(fake)} fake; add samples."
        )
    real, fake = finite(real), finite(fake)
    x = _mean_to_others(real) - _mean_kernel(real, fake)
    y = _mean_to_others(fake) - _mean_kernel(fake, real)
    variance = 4 * x.var() / len(x) + 4 * y.var() / len(y)
    return KernelDistance(float(x.mean() + y.mean()), float(variance.sqrt()))


def _mean_kernel(rows: Tensor, columns: Tensor) -> Tensor:
    """`[n]`: each row's mean kernel with all columns."""
    blocks = (rows_of @ columns.T for rows_of in rows.split(BLOCK))
    return torch.cat([(block / rows.shape[1] + 1).pow(3).mean(dim=1) for block in blocks])


def _mean_to_others(rows: Tensor) -> Tensor:
    """`[n]`: each row's mean kernel with all rows but itself."""
    itself = (rows.square().sum(dim=1) / rows.shape[1] + 1).pow(3)
    return (_mean_kernel(rows, rows) * len(rows) - itself) / (len(rows) - 1)
