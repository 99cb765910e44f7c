"""A checkpoint that is written between the micro-batches of a step is one of the step's start.

Lightning stores no accumulated gradients, so a run that went on from the middle of a step would
lose them. Weights, optimiser and data position are still those of the step's start then; only
Lightning's count of batches has to be put back.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

_COUNTS = ("ready", "started", "processed", "completed")


def rewind(loops: MutableMapping[str, Any], micro_batches: int) -> None:
    """Put a checkpoint's `loops` back by the micro-batches of the step that has just begun."""
    if micro_batches == 0:
        return
    fit = loops["fit_loop"]
    for counts in (fit["epoch_loop.batch_progress"][part] for part in ("total", "current")):
        for name in _COUNTS:
            counts[name] -= micro_batches
    cleared = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["zero_grad"]
    for counts in cleared.values():  # the step's first batch cleared the gradients
        for name in counts:
            counts[name] -= 1
