"""What does not depend on a clock: FLOPs and calls, counted on `meta` tensors or by hooks."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.full_size import Size
from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import Generators, generators_for
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.denoiser import Encoded, Masked
from lightning_artv.systems.artv.networks.shallow import DeepBlocks
from lightning_artv.systems.artv.references import FrameConditions
from lightning_artv.systems.artv.settings import ARTVSampling
from lightning_artv.systems.base import Segment


def flops(call: Callable[[], Any]) -> int:
    """Floating point operations of a call; a multiply-add is 2."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


ASKED = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2"}
"""Operators whose result the host needs."""
COPIES = {"aten::_to_copy", "aten::copy_"}


class Waits(TorchDispatchMode):
    """Where the host waits for a device, or a device for it: what asks for a value, and copies
    between them that block.

    Tensors on `meta` show what a GPU's would; there an operator that asks for a value fails.

    Attributes:
        found: operator and line, in the order of the program.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        devices = {x.device.type for x in given if x.device.type != "cpu" or x.dim()}
        if name in COPIES:
            devices |= {x.type for x in tree_leaves(kwargs) if isinstance(x, torch.device)}
        blocks = not (
            kwargs.get("non_blocking") or (name == "aten::copy_" and args[2:3] == (True,))
        )
        asked = name in ASKED and bool(devices - {"cpu"})
        if asked or (len(devices) > 1 and blocks):
            self.found.append(f"{name} {_line()}")
        return func(*args, **kwargs)


def _line() -> str:
    """The innermost line of this project that is being run."""
    ours = [f for f in traceback.extract_stack() if "lightning_artv/" in f.filename]
    return f"{ours[-1].filename.split('lightning_artv/')[-1]}:{ours[-1].lineno}" if ours else "?"


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


Call = tuple[int, DeepBlocks]
"""Rows of a video in a denoising call, and what becomes of the deep blocks."""


def denoising_calls(system: ARTV, size: Size, settings: ARTVSampling) -> list[Call]:
    """Each call of the denoiser for one frame."""
    calls: list[Call] = []
    denoise = system.denoiser.denoise

    def seen(y_t: Tensor, t: Tensor, encoded: Encoded, deep: DeepBlocks = "run") -> Masked:
        calls.append((len(y_t), deep))
        return denoise(y_t, t, encoded, deep)

    with mock.patch.object(system.denoiser, "denoise", seen):
        list(frames(system, size, settings, 2))
    return calls


@torch.no_grad()
def frame_cost(system: ARTV, size: Size, calls: Sequence[Call]) -> int:
    """FLOPs of such calls at another size; without the frame's encoding, a thousandth of them."""
    device = next(system.parameters()).device
    y_t = torch.zeros(1, 4, size.latent, size.latent, device=device)
    t = torch.zeros(1, dtype=torch.long, device=device)
    denoiser = system.eval().denoiser
    encoded = denoiser.encode((FrameConditions.blank(y_t, t), system.text_encoder([""])))
    denoiser.denoise(y_t, t, encoded, "keep")  # keys and values are made
    kinds = {deep for _, deep in calls}
    costs = {deep: flops(partial(denoiser.denoise, y_t, t, encoded, deep)) for deep in kinds}
    return sum(rows * costs[deep] for rows, deep in calls)


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
