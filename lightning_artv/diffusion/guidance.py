"""Classifier-free guidance over any number of conditions, in its original form (paper Sec. 4).

`eps = e(c) + sum_k w_k * (e(c) - e(c without k))`, with "all conditions" as the base. With one
condition it is the textbook `(1 + w) * e(c) - w * e(null)` (Ho & Salimans 2022, Eq. 6): a weight of
6.5 is what pipelines call a scale of 7.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor


def branches(weights: Mapping[str, float]) -> tuple[str | None, ...]:
    """Which evaluations guidance needs, in the order that `combine` expects.

    The first is None, "all conditions"; each other names the condition that is left out. A
    condition whose weight is 0 costs no evaluation, so with only zeros the result is `(None,)`.

    Raises:
        ValueError: a weight that is no finite number.
    """
    for name, weight in weights.items():
        if not math.isfinite(weight):
            raise ValueError(f"Guidance weight {name!r} must be a finite number, got {weight}.")
    return (None, *(name for name, weight in weights.items() if weight != 0))


def combine(stacked: Tensor, weights: Mapping[str, float]) -> Tensor:
    """The guided prediction, float32 `[B, ...]`, from one batched call's `[K*B, ...]` (K branches).

    Rows are ordered branch by branch, as `torch.cat([e_k for k in branches(weights)])`.

    Raises:
        ValueError: a number of rows that K does not divide.
    """
    names = branches(weights)
    if stacked.shape[0] % len(names):
        raise ValueError(
            f"combine expects {len(names)} predictions a sample, one for each of {names}, "
            f"got {stacked.shape[0]} rows."
        )
    base, *without = stacked.float().chunk(len(names))
    pairs = zip([k for k in names if k is not None], without, strict=True)
    return base + sum(weights[k] * (base - without_k) for k, without_k in pairs)
