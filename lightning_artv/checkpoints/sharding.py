"""FSDP2: a system's parameters cut over the ranks, each network part gathered while it computes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from lightning_artv.systems.base import Trainable


def shard(system: Trainable, mesh: DeviceMesh, compute: torch.dtype = torch.float32) -> None:
    """Cut the parameters of a system's blocks and shard units along their first axis, in place.

    Parameters, gradients and what the optimiser and the EMA make of them stay float32; gradients
    are summed in float32. What is not in a unit (a frozen VAE or text encoder) stays whole on every
    rank.

    Args:
        mesh: the ranks that they are cut over; one-dimensional.
        compute: the precision in which gathered weights travel and compute.

    Raises:
        TypeError: a trainable parameter that no unit holds, which no rank would synchronise.
    """
    # autocast, not FSDP2, chooses each operation's precision: the same as without shards
    policy = MixedPrecisionPolicy(
        param_dtype=None if compute == torch.float32 else compute,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    for unit in (*system.blocks(), *system.shard_units()):
        if not isinstance(unit, FSDPModule):
            # True also for roots: a unit that stays gathered after a validation's last forward
            # would train its next step with the averaged weights
            fully_shard(unit, mesh=mesh, reshard_after_forward=True, mp_policy=policy)
    left = [n for n, p in system.trainable_parameters().items() if not isinstance(p, DTensor)]
    if left:
        raise TypeError(f"{type(system).__name__}.shard_units() leaves out {', '.join(left[:3])}.")


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a sharded tensor, sharing its memory; any other tensor as it is."""
    return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor.detach()


def full(tensor: Tensor) -> Tensor:
    """The whole tensor on every rank (a collective call, for all ranks)."""
    return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach()


def sharded_like(tensor: Tensor, example: Tensor | None) -> Tensor:
    """`tensor`, which is whole on every rank, cut as `example` is if their shapes agree.

    No communication: each rank keeps its own part.
    """
    if not isinstance(example, DTensor) or example.shape != tensor.shape:
        return tensor
    whole = tensor.to(example.device)
    return distribute_tensor(whole, example.device_mesh, example.placements, src_data_rank=None)


def empty_like(shape: torch.Size, dtype: torch.dtype, example: Tensor | None) -> Tensor:
    """An uninitialised tensor, cut as `example` is if it has that shape, else whole on the CPU."""
    if isinstance(example, DTensor) and example.shape == shape:
        return torch.empty_like(example.detach(), dtype=dtype)
    return torch.empty(shape, dtype=dtype)


def has_shards(module: nn.Module) -> bool:
    """Whether parameters are sharded, so that all ranks have to compute together."""
    return any(isinstance(p, DTensor) for p in module.parameters())
