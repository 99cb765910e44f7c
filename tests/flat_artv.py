"""An ART•V from settings named one by one, whichever group they belong to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from lightning_artv.networks.autoencoder import Autoencoder, KLAutoencoder
from lightning_artv.networks.text_encoder import CLIPTextEncoder, TextEncoder
from lightning_artv.networks.unet import PretrainedUNet, UNetSource
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.build import DenoiserOptions
from lightning_artv.systems.artv.settings import ARTVSampling, ARTVTraining
from lightning_artv.systems.artv.system import SAMPLING


def build(
    unet: UNetSource,
    autoencoder: Autoencoder,
    text_encoder: TextEncoder,
    sampling: ARTVSampling = SAMPLING,
    **options: Any,
) -> ARTV:
    trained = {field.name for field in dataclasses.fields(ARTVTraining)}
    training = ARTVTraining(**{name: options[name] for name in trained & options.keys()})
    denoiser = DenoiserOptions(**{name: options[name] for name in options.keys() - trained})
    return ARTV.build(unet, autoencoder, text_encoder, denoiser, training, sampling)


def full_size(folder: Path, lora_rank: int | None = None, **options: Any) -> ARTV:
    """The full-size classes on a folder's Stable Diffusion weights."""
    name = str(folder)
    unet = PretrainedUNet(name, lora_rank=lora_rank)
    return build(unet, KLAutoencoder(name), CLIPTextEncoder(name), **options)
