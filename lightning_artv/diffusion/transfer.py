"""Small tensors on their way to a GPU, for which the host does not wait."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str | None) -> Tensor:
    """A CPU tensor on `device`; None leaves it.

    CUDA copies from page-locked memory while the host goes on, and from other memory only while
    the host waits.
    """
    if device is None or torch.device(device).type == "cpu":
        return tensor
    if torch.device(device).type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
