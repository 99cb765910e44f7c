"""A small, fast decoder in the place of an autoencoder's own, to look at videos sooner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import Autoencoder, to_uint8
from lightning_artv.networks.pretrained import load_model


class PreviewAutoencoder(Autoencoder):
    """An autoencoder that decodes with diffusers' AutoencoderTiny (TAESD), which was distilled
    from it; what is encoded is encoded as ever.

    Args:
        autoencoder: encodes.
        tiny: decodes the same latents.
        batch: frames decoded at once (bounds memory).

    Raises:
        UserError: a decoder of other latents.
    """

    def __init__(self, autoencoder: Autoencoder, tiny: AutoencoderTiny, batch: int = 8) -> None:
        super().__init__()
        self.autoencoder, self.tiny, self.batch = autoencoder, tiny, batch
        self.channels, self.factor = autoencoder.channels, autoencoder.factor
        channels = tiny.config.latent_channels
        factor = 2 ** (len(tiny.config.decoder_block_out_channels) - 1)
        if (channels, factor) != (self.channels, self.factor):
            raise UserError(
                f"The preview's decoder reads latents of {channels} channels, 1/{factor} of the "
                f"size, but this system makes {self.channels} channels, 1/{self.factor}: choose "
                "the small decoder of the system's own autoencoder."
            )

    def moments(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """The autoencoder's."""
        return self.autoencoder.moments(pixels)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents to uint8 pixels."""
        latents = latents.to(self.tiny.dtype) / self.tiny.config.scaling_factor
        parts = latents.split(self.batch)
        return torch.cat([to_uint8(self.tiny.decode(part).sample.float()) for part in parts])


def load_tiny(pretrained: str) -> AutoencoderTiny:
    """diffusers' AutoencoderTiny of a folder or hub id, such as `madebyollin/taesd`, frozen.

    Raises:
        MissingWeightsError: no such weights.
        CorruptWeightsError: weights that are damaged.
    """
    return load_model(AutoencoderTiny, pretrained, "").requires_grad_(False).eval()


@contextmanager
def previewing(system: nn.Module, tiny: AutoencoderTiny | None) -> Iterator[None]:
    """Within, `system` decodes with `tiny`; None changes nothing.

    Raises:
        UserError: a system without an autoencoder, or one of other latents.
    """
    own = getattr(system, "autoencoder", None)
    if tiny is None:
        yield
        return
    if not isinstance(own, Autoencoder):
        raise UserError(f"{type(system).__name__} has no autoencoder: leave the preview out.")
    system.autoencoder = PreviewAutoencoder(own, tiny.to(next(system.parameters()).device))
    try:
        yield
    finally:
        system.autoencoder = own
