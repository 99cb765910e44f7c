"""The first noise of a clip is made from that of the clip before (paper Sec. 4.3); pure."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def reversed_noise(noise: Tensor) -> Tensor:
    """FNR, Eq. 6: `z[i, j]_T = z[i-1, N-1-j]_T`; clips `[B, N, ...]`."""
    return noise.flip(1)


def past_dependent_noise(noise: Tensor, fresh: Tensor, prompt_frames: int, alpha: float) -> Tensor:
    """PNS, Eq. 7: reversed, and after the M prompt frames mixed with fresh noise.

    Unit variance in, unit variance out, whatever `alpha`.

    Args:
        noise: standard normal noise of the clip before, `[B, N, ...]`.
        fresh: standard normal noise of the same shape.
        prompt_frames: M, 0 .. N; those first frames keep the reversed noise as it is.
        alpha: how much of the reversed noise the others keep; 0 for none.
    """
    back = reversed_noise(noise)
    kept, new = alpha / math.hypot(1, alpha), 1 / math.hypot(1, alpha)
    mixed = kept * back + new * fresh
    return torch.cat([back[:, :prompt_frames], mixed[:, prompt_frames:]], dim=1)
