"""What VideoGen expects of its parts besides the stages, whoever trained them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from lightning_artv.diffusion.noise import Generators


@runtime_checkable
class Doubles(Protocol):
    """Temporal super-resolution, part `tsr`."""

    def double(self, latents: Tensor, generators: Generators) -> Tensor:
        """Latents of clips `[B, T, C, h, w]` to those of 2T - 1 frames; one generator per clip."""
        ...


@runtime_checkable
class DecodesClips(Protocol):
    """A video decoder, part `decoder`; every autoencoder is one."""

    def decode_clip(self, latents: Tensor, before: Tensor | None = None) -> Tensor:
        """Latents of clips `[B, F, C, h, w]` to uint8 pixels `[B, F, 3, H, W]`."""
        ...
