"""How long a Fréchet distance takes: ours, scipy's matrix square root, torchmetrics' eigenvalues.

    OMP_NUM_THREADS=1 python -m benchmarks.frechet

All get the same means and covariances in float64 ("ours from features" the features themselves),
each is run once to warm up, and the fastest of five runs counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
import scipy
import scipy.linalg
import torch
from torch import Tensor
from torchmetrics.image.fid import _compute_fid

from evaluation.statistics import Gaussian, frechet_distance, frechet_distance_of_features

SIZES = ((400, 2048), (1024, 2048), (1024, 512))  # dimensions, samples a set
RUNS = 5


def main() -> None:
    """Print the table."""
    threads = os.environ.get("OMP_NUM_THREADS", "default")
    print(
        f"torch {torch.__version__}, scipy {scipy.__version__}, OMP_NUM_THREADS {threads}, "
        f"{os.cpu_count()} cores"
    )
    print(f"{'d':>5} {'N':>5} {'':20} {'ms':>8} {'sqrtm / it':>10} {'relative difference':>20}")
    for size, samples in SIZES:
        report(size, samples)


def report(size: int, samples: int) -> None:
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
        print(
            f"{size:5} {samples:5} {name:20} {1e3 * seconds:8.1f} {faster:10.1f} {difference:20.1e}"
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
    main()
