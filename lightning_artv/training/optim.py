"""AdamW at a constant learning rate (paper Sec. 4), with an optional warm-up and decay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lightning_artv.checkpoints.sharding import full
from lightning_artv.errors import UserError

OptimizerName = Literal["adamw", "adamw8bit"]
Decay = Literal["none", "cosine"]
FUSED = {"cpu", "cuda"}
"""Devices on which AdamW's step is one kernel."""


def parameter_groups(
    module: nn.Module, trainable: Mapping[str, nn.Parameter], weight_decay: float
) -> list[dict[str, object]]:
    """Two AdamW groups: weight matrices and kernels decay; norms, biases and embeddings do not.

    Args:
        module: the module that owns the parameters; its embeddings are found by type.
        trainable: name -> parameter, as `Trainable.trainable_parameters()` gives it.
        weight_decay: decay of the first group.
    """
    embeddings = {
        id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)
    }
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for parameter in trainable.values():
        is_plain = parameter.ndim < 2 or id(parameter) in embeddings
        (plain if is_plain else decayed).append(parameter)
    groups: list[dict[str, object]] = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def adamw(
    module: nn.Module,
    trainable: Mapping[str, nn.Parameter],
    lr: float,
    weight_decay: float,
    betas: tuple[float, float],
    kind: OptimizerName = "adamw",
) -> Optimizer:
    """AdamW over the trainable parameters; one kernel for all of them, where there is one.

    Args:
        kind: `adamw8bit` keeps the moments of large parameters in 8 bits.

    Raises:
        UserError: when nothing is trainable; 8 bits without bitsandbytes, or of sharded parameters.
    """
    if not trainable:
        raise UserError("The system has no trainable parameters, so there is nothing to fit.")
    groups = parameter_groups(module, trainable, weight_decay)
    if kind == "adamw":
        fused = all(p.device.type in FUSED for p in trainable.values())
        whole = AdamW(groups, lr=lr, betas=betas, fused=fused)
        whole._step_supports_amp_scaling = False  # gradients are unscaled, and clipped, before it
        return whole
    if any(isinstance(p, DTensor) for p in trainable.values()):
        raise UserError("model.optimizer adamw8bit does not shard: use adamw under FSDP2.")
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UserError(
            "model.optimizer adamw8bit needs bitsandbytes: pip install 'lightning-artv[lowmem]'."
        ) from error
    optimizer: Optimizer = AdamW8bit(groups, lr=lr, betas=betas)
    return optimizer


def learning_rates(optimizer: Optimizer, warmup_steps: int, decay_steps: int | None) -> LambdaLR:
    """The learning rate of every step: a linear warm-up, then constant or along half a cosine.

    The first step uses lr / warmup_steps, the last of the warm-up the full lr.

    Args:
        warmup_steps: 0 for none.
        decay_steps: steps of the whole run, after which the half cosine has reached 0; None stays
            at lr.
    """

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, warmup_steps))
        if decay_steps is None:
            return rise
        share = (step - warmup_steps) / max(1, decay_steps - warmup_steps)
        return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, share))))

    return LambdaLR(optimizer, factor)


def options_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Options of each parameter group, without its parameters."""
    groups = optimizer.param_groups
    return [{name: value for name, value in g.items() if name != "params"} for g in groups]


def renew(
    optimizer: Optimizer,
    options: Sequence[Mapping[str, object]],
    scheduler: LambdaLR | None,
    step: int,
) -> None:
    """Put the configured options in the place of those that a checkpoint brought back.

    Args:
        options: options of each parameter group, as the optimizer was made with them.
        scheduler: scheduler of the learning rate, which it is told where the run stands.
        step: optimiser steps done.
    """
    for group, configured in zip(optimizer.param_groups, options, strict=True):
        group.update(configured)
    for parameter, state in optimizer.state.items():
        if isinstance(state.get("step"), Tensor):  # earlier versions kept it in the host's memory
            state["step"] = state["step"].to(parameter.device)
    if scheduler is None:
        return
    scheduler.base_lrs = [group["lr"] for group in optimizer.param_groups]
    scheduler.last_epoch = step
    for group, factor in zip(optimizer.param_groups, scheduler.lr_lambdas, strict=True):
        group["initial_lr"] = group["lr"]
        group["lr"] = group["initial_lr"] * factor(step)
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]


def kind_of(state: Mapping[str, Mapping[object, Mapping[str, object]]]) -> OptimizerName | None:
    """Which optimiser wrote a state dict; None where it has not made a step."""
    first = next(iter(state["state"].values()), None)
    if first is None:
        return None
    return "adamw" if "exp_avg" in first else "adamw8bit"


def gradient_norm(trainable: Mapping[str, nn.Parameter]) -> Tensor:
    """The global L2 norm of all gradients, float32 scalar; 0 where there are none.

    Of sharded gradients it is the norm of the whole ones: a collective call, for all ranks.
    """
    gradients = [p.grad for p in trainable.values() if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    return full(torch.nn.utils.get_total_norm(gradients)).float()
