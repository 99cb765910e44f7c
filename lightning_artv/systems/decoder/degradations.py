"""Spoilt clips, from whose latents a decoder learns to make the clean ones (VideoGen Sec. 3.5).

BSRGAN's degradations (Zhang et al., ICCV 2021) without downsampling: two blurs, noise and JPEG in
random order, and JPEG at the end. Parameters are drawn once per clip, noise per frame; pure, all
randomness is a generator's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from lightning_artv.diffusion.noise import Generators

KERNELS = (7, 25)
"""Least and most pixels of a blur's side; odd."""
ISOTROPIC_SD = 2.2
ANISOTROPIC_VARIANCE = 5.0
NOISE_SD = (2.0, 25.0)
QUALITY = (30, 95)
_JPEG_SHARE = 0.9
_KINDS = (0.4, 0.8)  # up to the first: colour noise; up to the second: grey; else correlated

Change = Callable[[Tensor], Tensor]
"""Pictures `[F, 3, H, W]` in [0, 255], float32, to the same."""


def degrade_clips(clips: Tensor, generators: Generators) -> Tensor:
    """Clips uint8 `[B, F, 3, H, W]` degraded, each by its own generator."""
    made = [degrade(clip.cpu(), one) for clip, one in zip(clips, generators, strict=True)]
    return torch.stack(made).to(clips.device)


def degrade(clip: Tensor, generator: torch.Generator) -> Tensor:
    """A clip uint8 `[F, 3, H, W]`, on the CPU, degraded."""
    changes = [_blur(generator), _blur(generator), _noise(generator)]
    if _uniform(generator) < _JPEG_SHARE:
        changes.append(_jpeg(generator))
    last = _jpeg(generator)
    frames = clip.float()
    for index in torch.randperm(len(changes), generator=generator).tolist():
        frames = changes[index](frames).clamp(0, 255)
    return last(frames).to(torch.uint8)


def gaussian_kernel(size: int, variances: tuple[float, float], angle: float = 0.0) -> Tensor:
    """A Gaussian `[size, size]` that sums to 1.

    Args:
        size: odd.
        variances: along both axes, in pixels; 0 leaves the picture as it is.
        angle: angle of the first axis, counted from x, in radians.
    """
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    first, second = (max(variance, 1e-6) for variance in variances)
    kernel = torch.exp(-0.5 * (along**2 / first + across**2 / second))
    return (kernel / kernel.sum()).float()


def blur(frames: Tensor, kernel: Tensor) -> Tensor:
    """Pictures `[F, 3, H, W]` blurred by one kernel; the border is continued."""
    reach = kernel.shape[0] // 2
    padded = F.pad(frames, (reach,) * 4, mode="replicate")
    return F.conv2d(padded.flatten(0, 1)[:, None], kernel[None, None]).view_as(frames)


def jpeg(frames: Tensor, quality: int) -> Tensor:
    """Pictures `[F, 3, H, W]` in [0, 255] through JPEG, chroma halved as libjpeg does."""
    rounded = frames.clamp(0, 255).round().to(torch.uint8)
    coded = encode_jpeg([*rounded], quality)
    return torch.stack([decode_jpeg(data, ImageReadMode.RGB) for data in coded]).float()


def _blur(generator: torch.Generator) -> Change:
    """A drawn blur, isotropic or not."""
    size = 2 * int(torch.randint(KERNELS[0] // 2, KERNELS[1] // 2 + 1, (), generator=generator)) + 1
    if _uniform(generator) < 0.5:
        variance = (ISOTROPIC_SD * _uniform(generator)) ** 2
        kernel = gaussian_kernel(size, (variance, variance))
    else:
        both = (ANISOTROPIC_VARIANCE * _uniform(generator) for _ in range(2))
        first, second = both
        kernel = gaussian_kernel(size, (first, second), math.pi * _uniform(generator))
    return partial(blur, kernel=kernel)


def _noise(generator: torch.Generator) -> Change:
    """Drawn noise: of each colour alone, the same of all, or correlated between them."""
    low, high = NOISE_SD
    sd, kind = low + (high - low) * _uniform(generator), _uniform(generator)
    mixed = sd * _mixing(kind, generator)

    def add(frames: Tensor) -> Tensor:
        shape = (len(frames), 3, *frames.shape[2:])
        drawn = torch.randn(shape, generator=generator)
        return frames + torch.einsum("ij,fjhw->fihw", mixed, drawn)

    return add


def _mixing(kind: float, generator: torch.Generator) -> Tensor:
    """What makes noise `[3]` of independent standard normal numbers `[3]`."""
    if kind < _KINDS[0]:
        return torch.eye(3)
    if kind < _KINDS[1]:
        return torch.tensor([[1.0, 0, 0]] * 3)
    axes, _ = torch.linalg.qr(torch.rand(3, 3, generator=generator))
    return axes * torch.rand(3, generator=generator).sqrt()


def _jpeg(generator: torch.Generator) -> Change:
    quality = int(torch.randint(QUALITY[0], QUALITY[1] + 1, (), generator=generator))
    return partial(jpeg, quality=quality)


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
