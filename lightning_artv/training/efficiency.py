"""Compiled blocks, recomputed activations; the global batch and passes of any number of devices."""

from __future__ import annotations

import math

import torch
from diffusers import UNet2DConditionModel
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn

from lightning_artv.errors import UserError

_CODES = 64


def trained_unets(module: nn.Module) -> list[UNet2DConditionModel]:
    """The U-Nets in `module` with trainable weights."""
    found = [m for m in module.modules() if isinstance(m, UNet2DConditionModel)]
    return [unet for unet in found if any(p.requires_grad for p in unet.parameters())]


def recompute_activations(module: nn.Module) -> None:
    """The U-Nets keep no activations inside their blocks: less memory, a third more compute."""
    for unet in trained_unets(module):
        unet.enable_gradient_checkpointing()


def compile_blocks(module: nn.Module, backend: str = "inductor") -> None:
    """Compile each block of each U-Net as one graph, in place; a graph break is an error.

    It is the block's `forward` that is replaced, so that the names of weights stay and FSDP2's
    hooks, which gather them, run outside the graph.
    """
    # blocks of one class share their code, and each width, mode and batch size is a version of it
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = max(limit, _CODES)
    for unet in trained_unets(module):
        for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
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
    endless = trainer.limit_train_batches == 1.0 and hasattr(data, "batches_a_pass")
    if trainer.max_steps != -1 or passes is None or passes < 1 or not endless:
        return
    batches = passes * data.batches_a_pass()
    steps = math.ceil(batches / trainer.accumulate_grad_batches)
    trainer.fit_loop.epoch_loop.max_steps = steps
    rank_zero_info(f"trainer.max_epochs {passes}: {steps} optimiser steps.")
