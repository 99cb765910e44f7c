"""Count, mean and scatter of feature vectors: all that a Fréchet distance needs, in fixed memory.

The scatter is taken about the mean of each batch and carried to the common mean when batches or
ranks merge (Chan, Golub & LeVeque 1983), so features far from zero lose no digits, as they would in
sums of squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_artv.errors import UserError


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Sufficient statistics of `count` vectors of size d; `a + b` merges two, exactly.

    Attributes:
        count: how many vectors.
        mean: float64 `[d]`.
        scatter: float64 `[d, d]`, the sum of `(x - mean)(x - mean)^T`.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Gaussian:
        """The statistics of the rows of `[n, d]`.

        Raises:
            ValueError: not a matrix.
            UserError: a value that is not finite.
        """
        features = finite(features)
        if not len(features):
            return cls.empty(features.shape[1], features.device)
        mean = features.mean(dim=0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    @classmethod
    def empty(cls, size: int, device: torch.device | str = "cpu") -> Gaussian:
        """No vectors yet."""
        zeros = torch.zeros(size + 1, size, dtype=torch.float64, device=device)
        return cls(0, zeros[0], zeros[1:])

    def __add__(self, other: Gaussian) -> Gaussian:
        return Gaussian.unpack(merge_packed(torch.stack([self.pack(), other.pack()])))

    @property
    def size(self) -> int:
        """The features' dimension d."""
        return len(self.mean)

    def covariance(self, ddof: int = 1) -> Tensor:
        """`scatter / (count - ddof)`, float64 `[d, d]`.

        Raises:
            UserError: fewer than two vectors, of which no covariance is known.
        """
        if self.count < 2:
            raise UserError(
                f"A covariance needs at least 2 samples, got {self.count}; add samples."
            )
        return self.scatter / (self.count - ddof)

    def pack(self) -> Tensor:
        """One float64 tensor `[d + 2, d]`: a row of the count, the mean, the scatter."""
        count = torch.full_like(self.mean, self.count)
        return torch.cat([count[None], self.mean[None], self.scatter])

    @classmethod
    def unpack(cls, packed: Tensor) -> Gaussian:
        """The inverse of `pack`."""
        return cls(int(packed[0, 0]), packed[1], packed[2:])


def merge_packed(packed: Tensor) -> Tensor:
    """Merge `[K, d + 2, d]` packed statistics into `[d + 2, d]`.

    A function of the stacked tensor, so that torchmetrics can reduce a state over ranks with it.
    """
    counts, means, scatters = packed[:, 0, :1], packed[:, 1], packed[:, 2:]
    total = counts.sum()
    mean = (counts * means).sum(dim=0) / total.clamp(min=1)
    apart = (means - mean) * counts.sqrt()
    scatter = scatters.sum(dim=0) + apart.T @ apart
    return torch.cat([total.expand(1, len(mean)), mean[None], scatter])


def finite(features: Tensor) -> Tensor:
    """`[n, d]` in float64, after a look at every value.

    Raises:
        ValueError: not a matrix.
        UserError: a value that is not finite.
    """
    if features.dim() != 2:
        raise ValueError(f"Features must be [samples, size], got {tuple(features.shape)}.")
    bad = int((~features.isfinite()).any(dim=1).sum())
    if bad:
        raise UserError(
            f"The features of {bad} of {len(features)} samples are not finite; check the videos "
            "and the weight file."
        )
    return features.double()
