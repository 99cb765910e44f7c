"""What a network may predict, and how one prediction becomes another.

With `y_t = signal * y0 + noise * eps` and `signal^2 + noise^2 = 1`, each of the noise `eps`, the
clean latent `x0` and the velocity `v = signal * eps - noise * x0` (Salimans & Ho 2022) follows from
any other and `y_t`. All tensors have the shape of `y_t`; `signal` and `noise` are floats, or
tensors that broadcast with it (`lightning_artv.diffusion.schedule.broadcast`).
"""

from __future__ import annotations

from torch import Tensor

Coefficient = Tensor | float


def x0_from_eps(y_t: Tensor, eps: Tensor, signal: Coefficient, noise: Coefficient) -> Tensor:
    """The clean latent if `eps` is the noise in `y_t`; `signal` must not be 0."""
    return (y_t - noise * eps) / signal


def eps_from_x0(y_t: Tensor, x0: Tensor, signal: Coefficient, noise: Coefficient) -> Tensor:
    """The noise in `y_t` if `x0` is the clean latent; `noise` must not be 0."""
    return (y_t - signal * x0) / noise


def x0_from_v(y_t: Tensor, v: Tensor, signal: Coefficient, noise: Coefficient) -> Tensor:
    """The clean latent if `v` is the velocity at `y_t`."""
    return signal * y_t - noise * v
