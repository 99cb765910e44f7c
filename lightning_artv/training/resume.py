"""Going on: from the middle of a step, and with other options.

A checkpoint that is written between the micro-batches of a step is one of the step's start.

Lightning stores no accumulated gradients, so a run that went on from the middle of a step would
lose them. Weights, optimiser and data position are still those of the step's start then; only
Lightning's count of batches has to be put back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from lightning_artv.training.earlier import system_settings

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


_SHOWN = 12
_APART = ("model.init_from", "trainer.max_steps")  # read by a new run only; meant to grow


def changes(stored: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The options that a run goes on with and was not trained with, as far as both know them.

    Args:
        stored: a checkpoint's `embedded_config`.
        now: this run's.

    Returns:
        `model.lr 0.01 (was 0.001), ...`; empty where nothing differs.
    """
    before, after = dict(_options(stored)), dict(_options(now))
    different = [
        f"{name} {after[name]} (was {before[name]})"
        for name in after
        if name in before and before[name] != after[name] and name not in _APART
    ]
    more = f" and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
    return ", ".join(different[:_SHOWN]) + more


def _options(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    run = config.get("run") or {}
    yield from _flat(run.get("model"), "model")
    yield from _flat(system_settings(config.get("system") or {}), "model.system")
    for name in ("data", "trainer"):
        yield from _flat(run.get(name), name)
    ema = run.get("ema")
    yield "EMA", "none" if ema is None else "there"
    yield from _flat(ema or {}, "EMA")


def _flat(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flat(value, f"{name}.{key}")
    else:
        yield name, list(tree) if isinstance(tree, tuple) else tree
