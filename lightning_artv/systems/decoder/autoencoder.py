"""The training of a small picture autoencoder, where Stable Diffusion's is too large.

Video decoders take its checkpoint in the place of a `KLAutoencoder`'s folder, by
`checkpoints.autoencoder.TrainedAutoencoder`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from lightning_artv.batch import VideoBatch
from lightning_artv.data.windows import ConsecutiveFrames
from lightning_artv.diffusion.noise import Generators, randn
from lightning_artv.errors import UserError, check_number
from lightning_artv.networks.autoencoder import DiffusersAutoencoder
from lightning_artv.systems.base import LossOutput, Trainable


class PictureAutoencoder(Trainable):
    """diffusers' AutoencoderKL, of Stable Diffusion's kind, from random weights.

    Args:
        channels: block widths; each level but the last halves the resolution.
        layers_per_block: residual blocks per level of the encoder; the decoder has one more.
        latent_channels: channels of the latents.
        norm_groups: groups of the GroupNorms; must divide every width.
        kl_weight: weight of the latents' divergence from a standard normal, summed, beside the
            pictures' error, summed too (1e-6 as in Stable Diffusion's own training); larger ones
            leave the latents noisier.

    Raises:
        UserError: a negative weight.
    """

    windows = ConsecutiveFrames
    part = "autoencoder"

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 32),
        layers_per_block: int = 1,
        latent_channels: int = 4,
        norm_groups: int = 8,
        kl_weight: float = 1e-6,
    ) -> None:
        super().__init__()
        check_number("kl_weight", kl_weight, 0)
        self.kl_weight = kl_weight
        self.vae = AutoencoderKL(
            block_out_channels=tuple(channels),
            down_block_types=("DownEncoderBlock2D",) * len(channels),
            up_block_types=("UpDecoderBlock2D",) * len(channels),
            layers_per_block=layers_per_block,
            latent_channels=latent_channels,
            norm_num_groups=norm_groups,
            scaling_factor=1.0,
        )

    def loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        """Squared error of pictures decoded from sampled latents, from which colours are learned
        sooner than from L1, and the latents' divergence; per pixel and colour.

        Raises:
            UserError: stored latents, whose pixels nobody knows.
        """
        if batch.frames.dtype != torch.uint8:
            raise UserError(
                "An autoencoder learns from pixels: give shards of videos, not of latents."
            )
        clips = batch.gather(batch.frames)
        true = clips.flatten(0, 1).float() / 127.5 - 1
        latents = self.vae.encode(true).latent_dist
        noise = randn(generators, (clips.shape[1], *latents.mean.shape[1:]), true.device)
        made = self.vae.decode(latents.mean + latents.std * noise.flatten(0, 1)).sample.float()

        def per_clip(values: Tensor) -> Tensor:
            return values.unflatten(0, clips.shape[:2]).mean(dim=1)

        squared = per_clip((made - true).square().flatten(1).mean(dim=1))
        kl = per_clip(latents.kl()) / true[0].numel()
        error = squared + self.kl_weight * kl
        scalars = {"squared_error": squared.detach(), "kl": kl.detach()}
        return LossOutput(error.mean(), error.detach(), None, scalars)

    @torch.no_grad()
    def preview(self, batch: VideoBatch, generators: Generators) -> dict[str, Tensor]:
        """Clips, and what becomes of them in encoding and decoding."""
        clips, coder = batch.gather(batch.frames), DiffusersAutoencoder(self.vae)
        made = coder.decode_clip(coder.encode_clips(clips, generators))
        return {"truth": clips, "autoencoder": made}
