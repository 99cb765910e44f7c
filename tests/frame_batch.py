"""ART•V's batches whose windows serve one target each, from their parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_artv.batch import VideoBatch


def frame_batch(pixels: Tensor, captions: Sequence[str], keys: Sequence[str]) -> VideoBatch:
    """A batch of uint8 `[B, 4, 3, H, W]`: the target, frames i-1 and i-2, the anchor."""
    choice = torch.arange(4).expand(len(pixels), 1, 4)
    return VideoBatch(pixels, choice, tuple(captions), tuple(keys))
