"""Two ways to make the same clips, compared clip by clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.studies.significance import paired_t


@dataclass(frozen=True)
class Paired:
    """A comparison of two methods on the same videos.

    Attributes:
        method, other: names.
        difference: mean of method's value less the other's.
        better: share of the videos on which `method` is better.
        p: p value of a two-sided paired t test; None below two videos.
    """

    method: str
    other: str
    difference: float
    better: float
    p: float | None


def by_source(sources: list[str], values: list[float]) -> dict[str, float]:
    """One mean per video, of the values of its clips."""
    found: dict[str, list[float]] = {}
    for source, value in zip(sources, values, strict=True):
        found.setdefault(source, []).append(value)
    return {source: float(np.mean(them)) for source, them in found.items()}


def paired(
    values: Mapping[str, Mapping[str, float]], method: str, other: str, higher_is_better: bool
) -> Paired:
    """Compare two methods of `values`, name -> video -> value."""
    differences = np.array([values[method][s] - values[other][s] for s in values[method]])
    sign = 1 if higher_is_better else -1
    return Paired(
        method,
        other,
        float(differences.mean()),
        float((sign * differences > 0).mean()),
        paired_t(differences),
    )
