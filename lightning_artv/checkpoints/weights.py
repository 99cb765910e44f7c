"""Which weights a checkpoint holds, and whether they are those of a system."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from lightning_artv.errors import UserError
from lightning_artv.systems.base import Trainable


def check_weights(
    stored: Mapping[str, Tensor],
    parameters: Mapping[str, nn.Parameter],
    name: str,
    also: Collection[str] = (),
) -> None:
    """Every trainable parameter must be stored with its shape, and nothing unknown beside.

    Args:
        stored: name -> tensor of the checkpoint.
        parameters: name -> trainable parameter of the system.
        name: name of the checkpoint, for the message.
        also: names that may be stored besides (frozen weights, buffers).

    Raises:
        UserError: naming the first few keys that differ.
    """
    differing = [
        difference(key, stored.get(key), parameter)
        for key, parameter in parameters.items()
        if key not in stored or stored[key].shape != parameter.shape
    ]
    differing += [f"it has '{k}' too" for k in stored if k not in parameters and k not in also]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise UserError(
            f"{name} is a checkpoint of another architecture: {'; '.join(differing[:3])}{more}."
        )


def trainable_state(system: Trainable, state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """What of `state` training changes: trainable weights, and buffers outside frozen networks."""
    frozen = {f"{prefix}{name}" for name, p in system.named_parameters() if not p.requires_grad}
    frozen |= {f"{prefix}{name}" for name in _frozen_buffers(system)}
    return {key: value for key, value in state.items() if key not in frozen}


def _frozen_buffers(system: nn.Module) -> set[str]:
    """Names of buffers that belong to a network with parameters of which none is trainable."""
    names: set[str] = set()
    for path, module in system.named_modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            dot = f"{path}." if path else ""
            names |= {f"{dot}{name}" for name, _ in module.named_buffers()}
    return names


def difference(key: str, stored: Tensor | None, parameter: nn.Parameter) -> str:
    """How a stored weight differs from the one that is to hold it, in words."""
    if stored is None:
        return f"it lacks '{key}'"
    return f"'{key}' is {tuple(stored.shape)} there and {tuple(parameter.shape)} here"
