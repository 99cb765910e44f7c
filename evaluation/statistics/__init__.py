"""From features to numbers: pure functions of float64 tensors; no networks, no files of videos."""

from evaluation.statistics.extrapolation import Extrapolation, fvd_infinity
from evaluation.statistics.frechet import (
    frechet_distance,
    frechet_distance_of_features,
    frechet_distance_of_moments,
)
from evaluation.statistics.gaussian import Gaussian, merge_packed
from evaluation.statistics.inception import inception_score, inception_score_of_gaussian
from evaluation.statistics.kernel import KernelDistance, kernel_distance
from evaluation.statistics.order import shuffled
from evaluation.statistics.reference import Reference

__all__ = [
    "Extrapolation",
    "Gaussian",
    "KernelDistance",
    "Reference",
    "frechet_distance",
    "frechet_distance_of_features",
    "frechet_distance_of_moments",
    "fvd_infinity",
    "inception_score",
    "inception_score_of_gaussian",
    "kernel_distance",
    "merge_packed",
    "shuffled",
]
