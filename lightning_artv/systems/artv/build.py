"""ART•V's denoiser made from options: which networks, and what they start as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from lightning_artv.diffusion.schedule import NoiseSchedule
from lightning_artv.errors import UserError
from lightning_artv.networks.unet import UNetSource, check_tokens
from lightning_artv.systems.artv.denoiser import ARTVDenoiser, Masking
from lightning_artv.systems.artv.networks.unet import ConditionedUNet


@dataclass(frozen=True)
class DenoiserOptions(Masking):
    """A denoiser to build; what is said of `Masking` holds here too.

    Attributes:
        mask_width: block widths of the mask U-Net as a share of the dynamic one's.
        mask_channels: `one` mask for all latent channels, or one for `all`.
        anchor_patch: side of the anchor's patches, in latent pixels.
        schedule: `scaled_linear` (Stable Diffusion's), `linear` or `cosine`; 1000 steps.

    Raises:
        UserError: mask channels that are neither.
    """

    mask_width: float = 0.5
    mask_channels: Literal["one", "all"] = "one"
    anchor_patch: int = 2
    schedule: Literal["scaled_linear", "linear", "cosine"] = "scaled_linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask_channels not in ("one", "all"):
            raise UserError(f"mask_channels is {self.mask_channels!r}: choose one or all.")


def build_denoiser(
    unet: UNetSource, channels: int, text_width: int, options: DenoiserOptions
) -> ARTVDenoiser:
    """A denoiser as it starts training.

    Args:
        unet: where the dynamic U-Net comes from, and the mask U-Net's layout.
        channels: latent channels.
        text_width: width of the text tokens.
        options: the rest.

    Raises:
        UserError: a U-Net that reads tokens of another width.
    """
    patch = options.anchor_patch
    dynamic = ConditionedUNet.around(unet.build(channels), channels, patch, unet.trained)
    check_tokens(dynamic.unet, text_width)
    mask = None
    if options.static_noise != "none":
        out = 1 if options.mask_channels == "one" else channels
        scaled = unet.build_scaled(channels, out, options.mask_width)
        mask = ConditionedUNet.around(scaled, channels, patch)
        nn.init.constant_(mask.unet.conv_out.bias, options.mask_bias)
    return ARTVDenoiser(dynamic, mask, getattr(NoiseSchedule, options.schedule)(), options)
