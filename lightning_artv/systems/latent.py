"""What systems over an autoencoder's latents share, whatever they make of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.systems.base import Denoiser, SamplingSettings, Trainable, VideoSystem
from lightning_artv.systems.settings import with_settings

DenoiserT = TypeVar("DenoiserT", bound=Denoiser[Any, Any])
TrainingT = TypeVar("TrainingT")
SamplingT = TypeVar("SamplingT", bound=SamplingSettings)


class LatentTrainable(Trainable, Generic[DenoiserT, TrainingT, SamplingT]):
    """A denoiser between an autoencoder and a text encoder, whether or not it makes videos alone.

    Args:
        denoiser: what is trained.
        autoencoder: pixels to latents.
        text_encoder: captions to tokens.
        training: how the loss is made.
        sampling: defaults of generation.
    """

    def __init__(
        self,
        denoiser: DenoiserT,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        training: TrainingT,
        sampling: SamplingT,
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.text_encoder = text_encoder
        self.denoiser = denoiser
        self.training_options = training
        self._sampling = sampling

    @property
    def sampling(self) -> SamplingT:
        """The defaults of generation."""
        return self._sampling

    def resample(self, changes: Mapping[str, Any]) -> None:
        """Change the defaults of generation, by the names of its settings.

        Raises:
            UserError: a name that the settings have not, or a value that is not the setting's.
        """
        self._sampling = with_settings(self._sampling, changes)

    def blocks(self) -> list[nn.Module]:
        """The denoiser's."""
        return self.denoiser.blocks()

    def shard_units(self) -> list[nn.Module]:
        """The denoiser's, and the text encoder where it is trained."""
        text_is_trained = any(p.requires_grad for p in self.text_encoder.parameters())
        return [*self.denoiser.shard_units(), *[self.text_encoder] * text_is_trained]


class LatentSystem(LatentTrainable[DenoiserT, TrainingT, SamplingT], VideoSystem):
    """A whole system of these."""

    @property
    def size_multiple(self) -> int:
        """The autoencoder's factor; U-Nets take any latent size."""
        return self.autoencoder.factor

    def pixels(self, frames: Tensor) -> Tensor:
        """A batch's frames `[M, ...]` as uint8 `[M, 3, H, W]`; stored latents are decoded."""
        if frames.dtype == torch.uint8:
            return frames
        return self.autoencoder.decode(self.autoencoder.restore(frames))
