"""A Stable Diffusion decoder with layers over time (VidRD Sec. 4.4, VideoGen Sec. 3.4)."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import AutoencoderKL
from diffusers.models.attention import Attention
from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import DiffusersAutoencoder, to_uint8
from lightning_artv.networks.temporal import (
    Clip,
    Layers,
    TemporalAttention,
    TemporalConv,
    TemporalKernel,
    install,
)

Place = Literal["blocks", "convolutions"]
"""`blocks`: three convolutions over time behind each residual block of the way up (VidRD);
`convolutions`: one behind each 3x3 convolution, and an attention behind the middle's (VideoGen)."""


def decoder_layers(decoder: Decoder, place: Place, clip: Clip) -> Layers:
    """New layers over time for a decoder, by the names of what they follow.

    Raises:
        UserError: another place.
    """
    if place == "blocks":
        return {
            f"up_blocks.{name}": TemporalConv(
                block.out_channels, clip, layers=3, groups=block.norm1.num_groups
            )
            for name, block in decoder.up_blocks.named_modules()
            if isinstance(block, ResnetBlock2D)
        }
    if place != "convolutions":
        raise UserError(f"layers is {place!r}: choose blocks or convolutions.")
    layers: Layers = {}
    for name, module in decoder.named_modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            layers[name] = TemporalKernel(module.out_channels, clip)
        elif isinstance(module, Attention):
            layers[name] = TemporalAttention(module.inner_dim, module.heads, clip)
    return layers


@dataclass(frozen=True)
class Joins:
    """How clips are decoded one after the other.

    Attributes:
        clip_frames: frames decoded together (bounds memory).
        context: frames before them that are decoded again and dropped, so that the layers over time
            see across a join; 0, the papers', none.
    """

    clip_frames: int
    context: int

    def spans(self, frames: int) -> Iterator[tuple[int, int, int]]:
        """(first frame seen, first frame kept, end) of each part."""
        for start in range(0, frames, self.clip_frames):
            yield max(0, start - self.context), start, min(start + self.clip_frames, frames)


class TemporalDecoder(nn.Module):
    """A copy of an image model's decoder with layers over time, untrained the same bit for bit.

    Args:
        vae: whose decoder it is; it stays as it is.
        place: see `Place`.
    """

    def __init__(self, vae: AutoencoderKL, place: Place) -> None:
        super().__init__()
        self.clip, self.place = Clip(), place
        self.decoder: Decoder = deepcopy(vae.decoder).requires_grad_(True)
        self.post_quant = deepcopy(vae.post_quant_conv if vae.config.use_post_quant_conv else None)
        self.scale = vae.config.scaling_factor
        install(self.decoder, decoder_layers(self.decoder, place, self.clip))

    def blocks(self) -> list[nn.Module]:
        """The decoder's blocks, in the order of its `forward`."""
        return [self.decoder.mid_block, *self.decoder.up_blocks]

    def forward(self, latents: Tensor) -> Tensor:
        """Latents of clips `[B, F, C, h, w]`, scaled as a diffusion model sees them, to pictures
        `[B, F, 3, H, W]`, in [-1, 1] but for what the network overshoots.
        """
        flat = latents.flatten(0, 1) / self.scale
        flat = flat if self.post_quant is None else self.post_quant(flat)
        self.clip.frames = latents.shape[1]
        pictures: Tensor = self.decoder(flat)
        return pictures.unflatten(0, latents.shape[:2])


class VideoAutoencoder(DiffusersAutoencoder):
    """An image encoder, and a decoder that sees the frames of a clip together.

    Its `decode` takes pictures for clips of one frame.

    Args:
        vae: whose encoder it is.
        decoder: what decodes.
        joins: how long clips are decoded.
        batch: frames encoded at once (bounds memory).
    """

    def __init__(
        self, vae: AutoencoderKL, decoder: TemporalDecoder, joins: Joins, batch: int = 8
    ) -> None:
        super().__init__(vae, batch)
        self.decoder, self.joins = decoder, joins

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures' latents `[N, C, h, w]` to uint8 pixels, each alone."""
        parts = latents[:, None].split(self.batch)
        return torch.cat([to_uint8(self.decoder(part)[:, 0].float()) for part in parts])

    @torch.no_grad()
    def decode_clip(self, latents: Tensor, before: Tensor | None = None) -> Tensor:
        """Clips' latents `[B, F, C, h, w]` to uint8 pixels `[B, F, 3, H, W]`; see `Autoencoder`."""
        seen = latents
        known = 0
        if before is not None and self.joins.context:
            before = before[:, -self.joins.context :]
            seen, known = torch.cat([before, latents], dim=1), before.shape[1]
        parts = []
        for first, start, end in self.joins.spans(latents.shape[1]):
            first = first if start else -known
            pictures = self.decoder(seen[:, known + first : known + end])
            parts.append(to_uint8(pictures[:, start - first :].float()))
        return torch.cat(parts, dim=1)
