"""Small systems of both kinds, and what is generated from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from flat_artv import build
from torch import Tensor

from lightning_artv import ARTVPipeline
from lightning_artv.networks.autoencoder import KLAutoencoder, PixelUnshuffleAutoencoder
from lightning_artv.networks.text_encoder import ByteTextEncoder, CLIPTextEncoder
from lightning_artv.networks.unet import PretrainedUNet, SmallUNet
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.settings import ARTVSampling, Guidance

KINDS = ("small", "sd")

SMALL_SAMPLING = ARTVSampling(
    steps=2,
    spacing="trailing",
    guidance=Guidance(0.0, 0.5, 1.0),
    noise_level=5,
    clip_latents=1.0,
    set_alpha_to_one=True,
)
SD_SAMPLING = ARTVSampling(steps=2, guidance=Guidance(0.25, 0.25, 6.5), noise_level=200)


def small_system(sampling: ARTVSampling = SMALL_SAMPLING, **options: Any) -> ARTV:
    torch.manual_seed(0)
    unet = SmallUNet((16, 32), text_width=16, norm_groups=8)
    arguments = {"prediction_type": "residual", "max_noise_level": 20, "mask_channels": "all"}
    encoder = ByteTextEncoder(16, max_words=6)
    return build(
        unet, PixelUnshuffleAutoencoder(2), encoder, sampling=sampling, **{**arguments, **options}
    ).eval()


def sd_system(folder: Path, sampling: ARTVSampling = SD_SAMPLING) -> ARTV:
    torch.manual_seed(0)
    name = str(folder)
    parts = (PretrainedUNet(name), KLAutoencoder(name), CLIPTextEncoder(name))
    return build(*parts, sampling=sampling).eval()


@torch.no_grad()
def trained(system: ARTV) -> ARTV:
    """As after training: what started at zero, or closed, did not stay there."""
    torch.manual_seed(1)
    for parameter in system.trainable_parameters().values():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    if system.denoiser.mask is not None:
        system.denoiser.mask.unet.conv_out.bias.zero_()
    return system


def make(kind: str, sd_folder: Path) -> ARTV:
    return trained(small_system() if kind == "small" else sd_system(sd_folder))


def generate(pipeline: ARTVPipeline, **options: Any) -> Tensor:
    """Three frames of 16x16 of one prompt, `[1, 3, 3, 16, 16]` in [0, 1]."""
    pipeline.set_progress_bar_config(disable=True)
    defaults = {"num_frames": 3, "height": 16, "width": 16, "seed": 3, "output_type": "pt"}
    return pipeline("a red dog", **{**defaults, **options}).frames
