"""What VideoGen expects of its parts besides the stages, whoever trained them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from lightning_artv.diffusion.noise import Generators
from lightning_artv.networks.autoencoder import Autoencoder


@runtime_checkable
class Doubles(Protocol):
    """Temporal super-resolution, part `tsr`."""

    autoencoder: Autoencoder

    def slow_down(self, latents: Tensor, generators: Generators) -> Tensor:
        """Latents of clips `[B, T, C, h, w]` to those of 2T - 1 frames; one generator per clip."""
        ...


@runtime_checkable
class DecodesClips(Protocol):
    """A video decoder, part `decoder`."""

    autoencoder: Autoencoder

    def video_autoencoder(self) -> Autoencoder:
        """The autoencoder with this decoder, whose `decode_clip` sees frames together."""
        ...
