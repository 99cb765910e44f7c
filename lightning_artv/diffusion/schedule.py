"""A noise schedule is data: betas, and what follows from them (paper Sec. 3.1, Eq. 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lightning_artv.diffusion.transfer import to_device


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Variance-preserving diffusion: `y_t = signal * y0 + noise * eps`, `signal^2 + noise^2 = 1`.

    The tables stay in float64 on the CPU; `signal`, `noise` and `snr` gather in float32 on the
    device of `t`, from copies that are made once per device.

    Attributes:
        betas: float64 `[N]`, each in (0, 1).

    Raises:
        ValueError: betas that are not a vector of numbers in (0, 1).
    """

    betas: Tensor

    def __post_init__(self) -> None:
        betas = self.betas.detach().to(device="cpu", dtype=torch.float64)
        if betas.dim() != 1 or not len(betas) or not bool(((betas > 0) & (betas < 1)).all()):
            raise ValueError(f"betas must be a non-empty vector of numbers in (0, 1), got {betas}.")
        object.__setattr__(self, "betas", betas)

    @classmethod
    def scaled_linear(
        cls, steps: int = 1000, start: float = 0.00085, end: float = 0.012
    ) -> NoiseSchedule:
        """Stable Diffusion's schedule: the square roots of the betas are linear."""
        return cls(_linspace(start**0.5, end**0.5, steps).square())

    @classmethod
    def linear(cls, steps: int = 1000, start: float = 1e-4, end: float = 0.02) -> NoiseSchedule:
        """Linear betas (Ho et al. 2020)."""
        return cls(_linspace(start, end, steps))

    @classmethod
    def cosine(
        cls, steps: int = 1000, offset: float = 0.008, max_beta: float = 0.999
    ) -> NoiseSchedule:
        """Squared-cosine alpha_bar (Nichol & Dhariwal 2021, Eq. 17); betas clip at `max_beta`."""
        time = _linspace(0, steps, steps + 1) / steps
        alpha_bar = torch.cos((time + offset) / (1 + offset) * math.pi / 2).square()
        return cls((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta))

    def __len__(self) -> int:
        return len(self.betas)

    @cached_property
    def alpha_bar(self) -> Tensor:
        """Cumulated product of `1 - beta`, float64 `[N]` on the CPU, decreasing."""
        return torch.cumprod(1 - self.betas, dim=0)

    def signal(self, t: Tensor) -> Tensor:
        """`sqrt(alpha_bar_t)`, the paper's sigma; float32 of the shape and on the device of `t`."""
        return self._gather("signal", t)

    def noise(self, t: Tensor) -> Tensor:
        """`sqrt(1 - alpha_bar_t)`, the paper's lambda; float32 like `signal`."""
        return self._gather("noise", t)

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio `alpha_bar_t / (1 - alpha_bar_t)`; float32 like `signal`."""
        return self._gather("snr", t)

    def _table(self, name: str) -> Tensor:
        """A table by its name, float64 `[N]` on the CPU."""
        if name == "signal":
            return self.alpha_bar.sqrt()
        if name == "noise":
            return (1 - self.alpha_bar).sqrt()
        return self.alpha_bar / (1 - self.alpha_bar)

    @cached_property
    def _copies(self) -> dict[tuple[str, torch.device], Tensor]:
        """Float32 tables by name and device."""
        return {}

    def _gather(self, name: str, t: Tensor) -> Tensor:
        """A table at `t`, float32 on its device; no GPU waits for `t` or for a table to arrive."""
        is_here = t.device.type == "cpu" and t.numel()
        if is_here and (int(t.min()) < 0 or int(t.max()) >= len(self)):
            raise ValueError(
                f"Timesteps must lie in [0, {len(self)}), got {int(t.min())} to {int(t.max())}."
            )
        key = (name, t.device)
        if key not in self._copies:
            with torch.inference_mode(False):
                self._copies[key] = to_device(self._table(name).float(), t.device)
        return self._copies[key][t]

    def add_noise(self, y0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Eq. 3: `y_t = sigma * y0 + lambda * eps`, always computed and returned in float32.

        Args:
            y0: clean latents `[B, ...]`.
            eps: standard normal noise of the same shape.
            t: int64 `[B]`, timesteps in [0, N).
        """
        if y0.shape != eps.shape or t.shape != y0.shape[:1]:
            raise ValueError(
                f"add_noise needs y0 and eps of one shape and one t a row, got {tuple(y0.shape)}, "
                f"{tuple(eps.shape)} and {tuple(t.shape)}."
            )
        t = t.to(y0.device)
        sigma, lam = broadcast(self.signal(t), y0), broadcast(self.noise(t), y0)
        return sigma * y0.float() + lam * eps.float()


def broadcast(per_sample: Tensor, like: Tensor) -> Tensor:
    """`[B]` -> `[B, 1, ..., 1]` with as many axes as `like`, for products with `[B, C, H, W]`."""
    return per_sample.reshape(-1, *[1] * (like.dim() - 1))


def _linspace(start: float, end: float, steps: int) -> Tensor:
    return torch.linspace(start, end, steps, dtype=torch.float64, device="cpu")
