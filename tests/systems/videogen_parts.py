"""Small VideoGens, and what their denoisers are shown."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lightning_artv.batch import VideoBatch
from lightning_artv.networks.autoencoder import PixelUnshuffleAutoencoder
from lightning_artv.networks.text_encoder import ByteTextEncoder
from lightning_artv.networks.unet import SmallUNet
from lightning_artv.systems.base import Origin
from lightning_artv.systems.videogen import Base, Cascade
from lightning_artv.systems.videogen.denoiser import DenoiserOptions
from lightning_artv.systems.videogen.settings import (
    Guidance,
    StageTraining,
    UpperSampling,
    VideoGenSampling,
)

KEYS = ("k0", "k1", "k2")
FEW = VideoGenSampling(
    steps=2, guidance=Guidance(0.0), upper=UpperSampling(2, Guidance(0.0), noise=3)
)
SIZE = 8
"""Side of the base's frames in pixels."""


def parts_of(seed: int = 0) -> tuple[SmallUNet, PixelUnshuffleAutoencoder, ByteTextEncoder]:
    torch.manual_seed(7)
    autoencoder, text_encoder = PixelUnshuffleAutoencoder(2), ByteTextEncoder(16)
    for parameter in text_encoder.parameters():
        parameter.requires_grad_(False)
    torch.manual_seed(seed)
    return SmallUNet((16, 32), text_width=16, norm_groups=8), autoencoder, text_encoder


def small_base(
    training: StageTraining | None = None, sampling: VideoGenSampling = FEW, **denoiser: Any
) -> Base:
    """A base of tiny networks that makes clips of 4 frames."""
    options = DenoiserOptions(**{"clip_frames": 4, **denoiser})
    system = Base.build(*parts_of(), options, training or StageTraining(), sampling)
    return loud(system, Origin((SIZE, SIZE), 8.0, "base"))


def small_cascade(doublings: int = 1, **options: Any) -> Cascade:
    """A stage above `small_base`."""
    denoiser = DenoiserOptions(clip_frames=options.pop("clip_frames", 4))
    options = {"sampling": FEW, **options}
    system = Cascade.build(*parts_of(doublings), doublings, denoiser=denoiser, **options)
    side = SIZE * 2**doublings
    return loud(system, Origin((side, side), 8.0, f"cascade {doublings}"))


def loud(system: Any, origin: Origin) -> Any:
    """With all that starts at zero at random."""
    for parameter in system.denoiser.parameters():
        if parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.1)
    system.origin = origin
    return system.eval()


def clips(count: int = 3, frames: int = 4, size: int = SIZE) -> VideoBatch:
    """Random clips at 4, 5, 6 ... frames per second."""
    g = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, frames, 3, size, size), dtype=torch.uint8, generator=g)
    keys = tuple(f"k{i}" for i in range(count))
    choice = torch.arange(frames).expand(count, 1, frames)
    rates = 4.0 + torch.arange(count)
    return VideoBatch(pixels, choice, tuple("abcdefgh"[:count]), keys, rates)


class Watching(nn.Module):
    """A network that keeps what it was shown and answers zeros."""

    def __init__(self, network: Any, channels: int) -> None:
        super().__init__()
        self.network, self.channels = network, channels
        self.shown: list[tuple[torch.Tensor, ...]] = []

    @property
    def unet(self) -> Any:
        return self.network.unet

    def forward(self, z: torch.Tensor, t: torch.Tensor, text: Any, labels: Any) -> torch.Tensor:
        self.shown.append((z.detach().clone(), t, text, labels))
        return z[:, :, : self.channels] * 0


def watch(system: Any) -> Watching:
    """Put a `Watching` in the place of a system's network."""
    network = Watching(system.denoiser.network, system.autoencoder.channels)
    system.denoiser.network = network
    return network
