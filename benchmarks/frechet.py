"""How long a Fréchet distance takes: ours, scipy's matrix square root, torchmetrics' eigenvalues.

    OMP_NUM_THREADS=1 python -m benchmarks.frechet

All get the same means and covariances in float64 ("ours from features" the features themselves),
each is run once to warm up, and the fastest of five runs counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import scipy
import scipy.linalg
import torch
from torch import Tensor
from torchmetrics.image.fid import _compute_fid

from benchmarks.documents import Row, print_rows
from evaluation.statistics import Gaussian, frechet_distance, frechet_distance_of_features

SIZES = ((400, 2048), (1024, 2048), (1024, 512))  # dimensions, samples per set
RUNS = 5


def rows() -> Iterator[Row]:
    """All ways at all sizes."""
    for size, samples in SIZES:
        yield from compared(size, samples)


def compared(size: int, samples: int) -> Iterator[Row]:
    """Time all ways on one pair of sets."""
    real, fake = features(samples, size, seed=0), features(samples, size, seed=1) * 0.9 + 0.1
    a, b = Gaussian.of(real), Gaussian.of(fake)
    moments = (a.mean, a.covariance(), b.mean, b.covariance())
    ways: dict[str, Callable[[], Tensor | float]] = {
        "scipy's sqrtm": lambda: by_sqrtm(*moments),
        "torchmetrics": lambda: _compute_fid(*moments),
        "ours": lambda: frechet_distance(a, b),
        "ours from features": lambda: frechet_distance_of_features(real, fake),
    }
    found = {name: timed(way) for name, way in ways.items()}
    truth = found["ours from features"][0]
    for name, (value, seconds) in found.items():
        faster = found["scipy's sqrtm"][1] / seconds
        difference = abs(value - truth) / truth
        yield (
            f"d {size}, N {samples}, {name}: ms, scipy's sqrtm / it, relative difference",
            f"{1e3 * seconds:.1f}, {faster:.1f}, {difference:.1e}",
        )


def features(samples: int, size: int, seed: int) -> Tensor:
    """Normal features with the slowly falling spectrum of a network's, `[samples, size]`."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(samples, size, generator=generator, dtype=torch.float64)
    spectrum = torch.arange(1, size + 1, dtype=torch.float64) ** -0.5
    turn = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    return (rows * spectrum) @ turn


def by_sqrtm(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """The way of pytorch-fid and of most FVD code."""
    root = np.trace(scipy.linalg.sqrtm((cov_a @ cov_b).numpy()).real)
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * root)


def timed(way: Callable[[], Tensor | float]) -> tuple[float, float]:
    """The value, and the fastest run in seconds."""
    value, fastest = float(way()), float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        way()
        fastest = min(fastest, time.perf_counter() - start)
    return value, fastest


if __name__ == "__main__":
    print(f"torch {torch.__version__}, scipy {scipy.__version__}")
    print_rows(rows())
