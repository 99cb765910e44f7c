"""Small VidRDs: one of tiny networks, one whose denoiser is a formula."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.diffusion.schedule import NoiseSchedule
from lightning_artv.networks.autoencoder import Autoencoder, PixelUnshuffleAutoencoder
from lightning_artv.networks.text_encoder import ByteTextEncoder
from lightning_artv.networks.unet import SmallUNet
from lightning_artv.systems.base import Segment
from lightning_artv.systems.vidrd import VidRD
from lightning_artv.systems.vidrd.denoiser import DenoiserOptions, VidRDDenoiser
from lightning_artv.systems.vidrd.settings import Guidance, VidRDSampling, VidRDTraining

PLAIN = VidRDSampling(steps=4, guidance=Guidance(0.0))


def small_vidrd(
    training: VidRDTraining | None = None,
    sampling: VidRDSampling = PLAIN,
    denoiser: DenoiserOptions | None = None,
    loud: bool = True,
) -> VidRD:
    """A system of tiny networks; `loud`: with all that starts at zero at random."""
    torch.manual_seed(0)
    system = VidRD.build(
        SmallUNet((16, 32), text_width=16, norm_groups=8),
        PixelUnshuffleAutoencoder(2),
        ByteTextEncoder(16),
        denoiser or DenoiserOptions(),
        training or VidRDTraining(),
        sampling,
    )
    for parameter in system.parameters():
        if loud and parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.1)
    return system.eval()


def clips(count: int = 3, frames: int = 8, size: int = 16) -> VideoBatch:
    """Random clips."""
    g = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, frames, 3, size, size), dtype=torch.uint8, generator=g)
    keys = tuple(f"k{i}" for i in range(count))
    choice = torch.arange(frames).expand(count, 1, frames)
    return VideoBatch(pixels, choice, tuple("abcdefgh"[:count]), keys)


class Mixing(nn.Module):
    """A made-up network: each frame's noise depends on all frames, their order and t."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.calls = 0

    def forward(self, z_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        self.calls += 1
        order = torch.linspace(0.5, 1, z_t.shape[1])[:, None, None, None]
        mean = (order * z_t).mean(dim=1, keepdim=True)
        result: Tensor = 0.6 * z_t + 0.4 * torch.sin(3 * mean) + t[..., None, None, None] / 4000
        return result


class Transparent(Autoencoder):
    """Latents that can be read: it keeps what it decoded."""

    channels, factor = 2, 1

    def __init__(self) -> None:
        super().__init__()
        self.decoded: list[Tensor] = []

    def moments(self, pixels: Tensor) -> tuple[Tensor, None]:
        return pixels[:, :2].float() / 127.5 - 1, None

    def decode(self, latents: Tensor) -> Tensor:
        self.decoded.append(latents)
        return ((latents.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)[:, [0, 0, 1]]


def transparent(
    denoiser: VidRDDenoiser | None = None, training: VidRDTraining | None = None
) -> VidRD:
    """A system whose network is `Mixing`, and whose latents can be read."""
    denoiser = denoiser or VidRDDenoiser(Mixing(), NoiseSchedule.scaled_linear())  # type: ignore[arg-type]
    return VidRD(denoiser, Transparent(), ByteTextEncoder(4), training or VidRDTraining(), PLAIN)


def latents_of(
    system: VidRD,
    frames: int,
    settings: VidRDSampling,
    keys: Sequence[str] = ("a", "b"),
    size: tuple[int, int] = (3, 5),
    first_frame: Tensor | None = None,
) -> Tensor:
    """Generated latents `[B, frames, C, h, w]` of a transparent system."""
    autoencoder = system.autoencoder
    assert isinstance(autoencoder, Transparent)
    autoencoder.decoded.clear()
    segments = [Segment(("",) * len(keys), frames)]
    list(system.generate(segments, generators_for(0, keys), size, first_frame, settings))
    decoded = torch.cat([x.unflatten(0, (len(keys), -1)) for x in autoencoder.decoded], dim=1)
    return decoded[:, :frames]  # the last clip is decoded whole
