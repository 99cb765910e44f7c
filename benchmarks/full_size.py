"""ART•V in Stable Diffusion 2.1-base's shapes with random weights: nothing is downloaded.

Autoencoder and text encoder are stand-ins that cost next to nothing: they are measured by
themselves. A tiny system of the same layers stands in where there is no GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor

from lightning_artv.networks.autoencoder import Autoencoder, to_uint8
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.networks.unet import UNetSource
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.settings import ARTVSampling

BLOCKS = {
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "use_linear_projection": True,
}
UNET: dict[str, Any] = {
    **BLOCKS,
    "block_out_channels": [320, 640, 1280, 1280],
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
}
TINY: dict[str, Any] = {
    **BLOCKS,
    "block_out_channels": [16, 32, 32, 32],
    "attention_head_dim": [2, 2, 2, 2],
    "cross_attention_dim": 32,
    "norm_num_groups": 8,
    "layers_per_block": 1,
}
LENGTH = 77
"""Text tokens of a caption."""


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes:
        unet: arguments of `UNet2DConditionModel`.
        latent: side of a latent frame; of the picture 8 times as many.
    """

    unet: dict[str, Any]
    latent: int

    @property
    def pixels(self) -> int:
        """Side of a picture."""
        return 8 * self.latent


FULL, SMALL = Size(UNET, 40), Size(TINY, 16)


class Shapes(UNetSource):
    """A U-Net of these arguments, with what is new in it built as beside trained weights."""

    trained = True

    def __init__(self, arguments: dict[str, Any] = UNET) -> None:
        self.arguments = arguments

    def config(self) -> dict[str, Any]:
        return self.arguments

    def build(self, latent_channels: int) -> UNet2DConditionModel:
        channels = {"in_channels": latent_channels, "out_channels": latent_channels}
        return UNet2DConditionModel(**self.arguments, **channels)


class Averages(Autoencoder):
    """Latents are means of 8 x 8 pixels."""

    channels, factor = 4, 8

    def moments(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        mean = F.avg_pool2d(pixels.float() / 127.5 - 1.0, self.factor)
        return torch.cat([mean, mean[:, :1]], dim=1), torch.full_like(mean[:, :1], 0.1)

    def decode(self, latents: Tensor) -> Tensor:
        return to_uint8(F.interpolate(latents[:, :3].float(), scale_factor=self.factor))


class Words(TextEncoder):
    """The same frozen tokens for every caption."""

    table: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("table", torch.randn(1, LENGTH, width))

    def forward(self, captions: Any) -> Tensor:
        return self.table.repeat(len(captions), 1, 1)


PAPER = ARTVSampling()
"""The paper's: 50 steps of 4 branches."""

FAST = ARTVSampling(steps=20, sampler="dpm-solver++", guided_from=0.2, guided_to=0.7, deep_every=2)
"""The fast mode of docs/method.md."""


def build(size: Size, device: torch.device | str, seed: int = 0) -> ARTV:
    """A system on `device`; `meta` for counting alone."""
    torch.manual_seed(seed)
    with torch.device(device):
        words = Words(size.unet["cross_attention_dim"])
        return ARTV.build(Shapes(size.unet), Averages(), words, sampling=PAPER)
