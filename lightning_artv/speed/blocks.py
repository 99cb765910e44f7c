"""Compiled and recomputed blocks of any system."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_artv.errors import UserError
from lightning_artv.systems.base import Trainable

_CODES = 64


def recompute_activations(system: Trainable) -> None:
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


def _blocks(system: Trainable, option: str) -> list[nn.Module]:
    blocks = system.blocks()
    if not blocks:
        raise UserError(
            f"model.{option} works on a system's blocks, and {type(system).__name__} has none: "
            "set it to false."
        )
    return blocks


def compile_blocks(system: Trainable, backend: str = "inductor") -> None:
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
