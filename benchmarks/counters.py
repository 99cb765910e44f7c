"""What does not depend on a clock: FLOPs and calls, counted on `meta` tensors or by hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.full_size import Size
from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import Generators, generators_for
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.settings import ARTVSampling
from lightning_artv.systems.base import Segment


def flops(call: Callable[[], Any]) -> int:
    """Floating point operations of a call; a multiply-add is 2."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def frames(
    system: ARTV, size: Size, settings: ARTVSampling, frames: int, videos: int = 1
) -> Iterator[Tensor]:
    """Frames that a system makes after a given one."""
    device = next(system.parameters()).device
    first = torch.zeros(videos, 3, size.pixels, size.pixels, dtype=torch.uint8, device=device)
    generators = generators_for(0, [f"video {index}" for index in range(videos)])
    segments = [Segment(("a dog runs",) * videos, frames)]
    sides = (size.pixels, size.pixels)
    return system.eval().generate(segments, generators, sides, first, settings)


def frame_flops(system: ARTV, size: Size, settings: ARTVSampling) -> int:
    """FLOPs of a frame in the middle of a video, all denoising steps."""
    made = frames(system, size, settings, 3)
    next(made), next(made)
    return flops(lambda: next(made))


def batch(size: Size, windows: int, targets: int = 1, device: Any = "cpu") -> VideoBatch:
    """Windows of stored latents: `targets` targets, two references and an anchor each."""
    count = targets + 3
    stored = torch.randn(windows, count, 8, size.latent, size.latent, device=device).half()
    places = [
        (
            k,
            *((k - 1, k - 2) if k > 1 else (k - 1, targets) if k else (targets, targets + 1)),
            count - 1,
        )
        for k in range(targets)
    ]
    choice = torch.tensor(places).expand(windows, -1, -1).to(device)
    names = tuple(f"sample {index}" for index in range(windows))
    return VideoBatch(stored, choice, names, names)


def generators(samples: VideoBatch, step: int) -> Generators:
    """One per target, as training makes them."""
    keys = samples.each_target(samples.keys)
    return generators_for(0, [f"train:{step}:{key}:{index}" for index, key in enumerate(keys)])
