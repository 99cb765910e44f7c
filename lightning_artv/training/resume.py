"""Going on: from the middle of a step, and with other options.

A checkpoint that is written between the micro-batches of a step is one of the step's start.

Lightning stores no accumulated gradients, so a run that went on from the middle of a step would
lose them. Weights, optimiser and data position are still those of the step's start then; only
Lightning's count of batches has to be put back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lightning_artv.checkpoints.earlier import data_settings, system_settings
from lightning_artv.checkpoints.file import CONFIG_KEY
from lightning_artv.errors import UserError
from lightning_artv.pipelines.loading import start_from
from lightning_artv.systems.base import Trainable
from lightning_artv.training.optim import kind_of

CARRIED_KEY = "carried"
"""Where a checkpoint keeps what each rank's system carries from batch to batch."""

_COUNTS = ("ready", "started", "processed", "completed")


def started(system: Trainable, path: str) -> str | UserError:
    """What comes of `model.init_from`: a sentence, or an error, of no matter to a resumed run."""
    try:
        return start_from(system, path)
    except UserError as error:
        return error


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


def of_all_ranks(carried: dict[str, Any], ranks: int) -> list[dict[str, Any]]:
    """What each rank's system carries from batch to batch, in the order of ranks."""
    if ranks == 1:
        return [carried]
    gathered: list[dict[str, Any]] = [{} for _ in range(ranks)]
    torch.distributed.all_gather_object(gathered, carried)
    return gathered


def of_this_rank(carried: Sequence[dict[str, Any]], trainer: Trainer) -> dict[str, Any]:
    """This rank's part of `of_all_ranks`; nothing, with a word, where there were other ranks."""
    if len(carried) == trainer.world_size:
        return carried[trainer.global_rank]
    if carried:
        rank_zero_warn(
            f"The checkpoint is of {len(carried)} devices and this run has {trainer.world_size}: "
            "windows in flight are left out, and new ones begin."
        )
    return {}


def check_goes_on(
    checkpoint: Mapping[str, Any], optimizer: str, config: Mapping[str, Any] | None
) -> None:
    """Tell what a fit that goes on from a checkpoint does otherwise than before.

    Args:
        optimizer: the run's `model.optimizer`.
        config: the run's `embedded_config`, if it is known.

    Raises:
        UserError: weights alone, or another optimiser's state.
    """
    states = checkpoint.get("optimizer_states")
    if not states:
        raise UserError(
            "The file to resume from holds weights alone: start a new run with them "
            "(--model.init_from), or give --ckpt_path a whole checkpoint."
        )
    kind = kind_of(states[0])
    if kind not in (None, optimizer):
        raise UserError(
            f"The checkpoint's optimiser is {kind}, whose state {optimizer} cannot read: set "
            f"model.optimizer {kind}."
        )
    stored = checkpoint.get(CONFIG_KEY)
    if stored and config and (other := changes(stored, config)):
        step = checkpoint["global_step"]
        rank_zero_warn(f"Going on from step {step} with other options than before: {other}.")


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
    yield from _flat(data_settings(run.get("data") or {}), "data")
    yield from _flat(run.get("trainer"), "trainer")
    ema = run.get("ema")
    yield "EMA", "none" if ema is None else "there"
    yield from _flat(ema or {}, "EMA")


def _flat(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flat(value, f"{name}.{key}")
    else:
        yield name, list(tree) if isinstance(tree, tuple) else tree
