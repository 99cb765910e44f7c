"""Compiled and recomputed blocks; the global batch and passes of any number of devices."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_artv.errors import UserError
from lightning_artv.systems.base import VideoSystem

_CODES = 64


def recompute_activations(system: VideoSystem) -> None:
    """Blocks keep no activations inside: less memory, a third more compute.

    A block that has diffusers' switches recomputes its layers one at a time, another one the whole.

    Raises:
        UserError: a system without blocks.
    """
    for block in _blocks(system, "gradient_checkpointing"):
        switches: list[Any] = [m for m in block.modules() if hasattr(m, "gradient_checkpointing")]
        for module in switches:
            module.gradient_checkpointing = True
            module._gradient_checkpointing_func = _recomputed
        if not switches:
            block.forward = partial(_recomputed, block.forward)


def _recomputed(call: Callable[..., Tensor], *arguments: Any, **options: Any) -> Tensor:
    result: Tensor = checkpoint(call, *arguments, use_reentrant=False, **options)
    return result


def _blocks(system: VideoSystem, option: str) -> list[nn.Module]:
    blocks = system.blocks()
    if not blocks:
        raise UserError(
            f"model.{option} works on a system's blocks, and {type(system).__name__} has none: "
            "set it to false."
        )
    return blocks


def compile_blocks(system: VideoSystem, backend: str = "inductor") -> None:
    """Compile each block of a system as one graph, in place; a graph break is an error.

    It is the block's `forward` that is replaced, so that the names of weights stay and FSDP2's
    hooks, which gather them, run outside the graph.

    Raises:
        UserError: a system without blocks.
    """
    # blocks of one class share their code, and each width, mode and batch size is a version of it
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = max(limit, _CODES)
    for block in _blocks(system, "compile"):
        if not hasattr(block.forward, "_torchdynamo_orig_callable"):
            # a graph for each shape: blocks of one class differ in shape, from which dynamo
            # would conclude that every size varies
            block.forward = torch.compile(
                block.forward, fullgraph=True, dynamic=False, backend=backend
            )


def accumulation_steps(global_batch: int, devices: int, batch: int) -> int:
    """How many batches of `batch` on each of `devices` make one optimiser step.

    Raises:
        UserError: `global_batch` is not a multiple of what one pass over all devices holds.
    """
    steps, rest = divmod(global_batch, devices * batch)
    if rest or not steps:
        raise UserError(
            f"model.global_batch_size {global_batch} is not a multiple of {devices} devices x "
            f"data.batch_size {batch}: choose a data.batch_size for which it is."
        )
    return steps


def bound_by_passes(trainer: Trainer) -> None:
    """End a run that is bounded by `trainer.max_epochs` after so many passes over its data.

    The stream of training data is endless, so that no epoch of it would ever end.
    """
    passes, data = trainer.max_epochs, getattr(trainer, "datamodule", None)
    count = getattr(data, "batches_a_pass", None) if trainer.limit_train_batches == 1.0 else None
    if trainer.max_steps != -1 or passes is None or passes < 1 or count is None:
        return
    batches = passes * count()
    steps = math.ceil(batches / trainer.accumulate_grad_batches)
    trainer.fit_loop.epoch_loop.max_steps = steps
    rank_zero_info(f"trainer.max_epochs {passes}: {steps} optimiser steps.")
