"""FVD∞: the Fréchet distance at infinitely many samples (Chong & Forsyth 2020, for FID).

The distance of N samples is too large by about a constant over N: two sets of 2048 from one
distribution are 17 to 40 apart in 400 dimensions. A straight line through the distances of all
samples, of halves, of thirds and of quarters, drawn to 1/N = 0, takes that out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evaluation.statistics.frechet import frechet_distance_of_features
from evaluation.statistics.gaussian import finite
from evaluation.statistics.order import shuffled
from lightning_artv.errors import UserError

DIVISIONS = (1, 2, 3, 4)  # into how many disjoint parts the samples are divided, one after another
GROUPS = 10  # of the jackknife
LEAST = 4 * max(
    DIVISIONS
)  # samples per set: each quarter keeps at least two when a group is left out


@dataclass(frozen=True)
class Extrapolation:
    """A Fréchet distance drawn to infinitely many samples.

    Attributes:
        value: the distance at 1/N = 0; chance may bring it slightly below 0.
        standard_error: its standard deviation over repeated draws of both sets (jackknife).
        finite: the distance of all samples, as it is, bias included.
        finite_standard_error: the same for `finite`.
        sizes: samples per part (of the smaller set), one for each division.
        distances: the mean distance of parts of that size.
        reliable: whether even the quarters have more samples than dimensions; below that the
            distance is not a straight line in 1/N.
    """

    value: float
    standard_error: float
    finite: float
    finite_standard_error: float
    sizes: tuple[float, ...]
    distances: tuple[float, ...]
    reliable: bool


def fvd_infinity(real: Tensor, fake: Tensor, ddof: int = 1, seed: int = 0) -> Extrapolation:
    """The distance of features `[n, d]` and `[m, d]` at infinitely many samples.

    The order of the rows does not matter. Both sets are divided alike, so n and m may differ.

    Args:
        real, fake: individual features of the two sets.
        ddof: as in `frechet_distance`.
        seed: seed of the division into parts.

    Raises:
        UserError: fewer than 16 samples in a set, or a value that is not finite.
    """
    for name, features in (("real", real), ("fake", fake)):
        if len(features) < LEAST:
            raise UserError(
                f"FVD∞ needs at least {LEAST} {name} samples, got {len(features)}; add samples."
            )
    real, fake = shuffled(finite(real), seed), shuffled(finite(fake), seed + 1)
    distances = _distances(real, fake, ddof)
    least = [
        _distances(_without(real, group), _without(fake, group), ddof) for group in range(GROUPS)
    ]
    smaller = min(len(real), len(fake))
    return Extrapolation(
        value=_at_infinity(distances),
        standard_error=_jackknife([_at_infinity(points) for points in least]),
        finite=distances[0],
        finite_standard_error=_jackknife([points[0] for points in least]),
        sizes=tuple(smaller / parts for parts in DIVISIONS),
        distances=tuple(distances),
        reliable=smaller // max(DIVISIONS) > real.shape[1],
    )


def _distances(real: Tensor, fake: Tensor, ddof: int) -> list[float]:
    """The mean distance of the parts, for each division."""
    means = []
    for parts in DIVISIONS:
        pairs = zip(real.tensor_split(parts), fake.tensor_split(parts), strict=True)
        total = sum(float(frechet_distance_of_features(a, b, ddof)) for a, b in pairs)
        means.append(total / parts)
    return means


def _at_infinity(distances: list[float]) -> float:
    """Where the least-squares line through (number of parts, distance) meets 0 parts."""
    parts = torch.tensor(DIVISIONS, dtype=torch.float64)
    values = torch.tensor(distances, dtype=torch.float64)
    apart = parts - parts.mean()
    slope = (apart * values).sum() / apart.square().sum()
    return float(values.mean() - slope * parts.mean())


def _without(rows: Tensor, group: int) -> Tensor:
    """All rows but every tenth: each part loses its share, and keeps its other rows."""
    return rows[torch.arange(len(rows)) % GROUPS != group]


def _jackknife(values: list[float]) -> float:
    """Standard error from the values with one group left out each (Efron & Stein 1981)."""
    left_out = torch.tensor(values, dtype=torch.float64)
    return float(((GROUPS - 1) * left_out.var(correction=0)).sqrt())
