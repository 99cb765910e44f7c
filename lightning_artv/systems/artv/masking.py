"""Masked diffusion (paper Sec. 3.2, Eq. 5-7). Pure functions of tensors.

`y_t = signal * y0 + noise * eps` (Eq. 3); the paper's sigma is `signal` here and its lambda is
`noise`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_artv.diffusion.prediction import x0_from_eps

StaticNoise = Literal["posterior", "residual", "literal", "none"]


def static_noise(
    form: StaticNoise, y_t: Tensor, y_ref: Tensor, signal: Tensor, noise: Tensor
) -> Tensor:
    """The part of the noise that comes straight from the reference (Eq. 6 and the text below it).

    * `posterior`: the noise that would be exact if the new frame equalled the reference. Then Eq.
      7 blends clean frames, `x0_hat = m * y_ref + (1 - m) * x0_dynamic`, and a mask of 1 copies
      exactly at any t.
    * `residual`: the paper's, with the sign that its Fig. 4 implies.
    * `literal`: the paper's as printed, for the record; its sign is wrong.

    Args:
        y_t: noised latents `[B, C, h, w]`.
        y_ref: clean latents of the previous frame, same shape.
        signal, noise: sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), broadcastable.
    """
    if form == "posterior":
        return (y_t - signal * y_ref) / noise
    if form == "residual":
        return y_t - y_ref
    if form == "literal":
        return y_ref - y_t
    raise ValueError(
        f"static_noise must be posterior, residual or literal to be computed, got {form!r}."
    )


def static_clean(
    form: StaticNoise, y_t: Tensor, y_ref: Tensor, signal: Tensor, noise: Tensor
) -> Tensor:
    """The clean latents that the static noise implies; exactly `y_ref` for `posterior`."""
    if form == "posterior":
        return y_ref
    return x0_from_eps(y_t, static_noise(form, y_t, y_ref, signal, noise), signal, noise)


def blend(mask: Tensor, static: Tensor, dynamic: Tensor) -> Tensor:
    """Eq. 7: `m * static + (1 - m) * dynamic`, of noises or of the clean latents they imply."""
    return mask * static + (1 - mask) * dynamic


def mask_from_logits(logits: Tensor, closed_at: float) -> Tensor:
    """A sigmoid shifted so that `closed_at`, the last convolution's first bias, gives a mask of
    exactly 0.

    `m = (sigmoid(z) - s) / (1 - s)`, clamped at 0, with `s = sigmoid(closed_at)`. The untrained
    model thus equals the plain U-Net to rounding, and the mask opens by learning: at 0 the
    gradient passes.
    """
    closed = float(torch.sigmoid(torch.tensor(closed_at, device="cpu")))  # float32's
    return ((torch.sigmoid(logits.float()) - closed) / (1 - closed)).clamp(min=0.0)
