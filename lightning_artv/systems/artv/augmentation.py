"""Faults of references, to be mended (ours). Pure functions of tensors."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lightning_artv.diffusion.noise import Generators, rand, randn

COARSE = 4


def faults(references: Tensor, largest: float, generators: Generators) -> Tensor:
    """Noise that stands in for what a generated frame has wrong: fine, and as wide as colour blobs.

    A fault that is made once is copied from frame to frame, so both references have the same one.

    Args:
        references: latents `[B, 2, C, h, w]`.
        largest: of the strength, uniform in [0, largest] for each sample: the standard deviation of
            the fine noise, and of the coarse one on a grid of `COARSE` x `COARSE` points, bilinear
            between them.

    Returns:
        what to add to the references, `[B, 1, C, h, w]`.
    """
    channels, *size = references.shape[2:]
    device = references.device
    strength = largest * rand(generators, (1, 1, 1, 1), device)
    fine = randn(generators, (channels, *size), device)
    coarse = randn(generators, (channels, COARSE, COARSE), device)
    coarse = F.interpolate(coarse, size, mode="bilinear")
    return strength * (fine + coarse)[:, None]
