"""What a frame costs, and what the training cost: counted, and timed in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from evaluation.systems.measures import ALONE, scene_clip
from lightning_artv.batch import VideoBatch
from lightning_artv.checkpoints.file import CONFIG_KEY, load_part, read_checkpoint
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.generation.videos import video_size
from lightning_artv.pipelines.loading import is_exported, load_system
from lightning_artv.synthetic.scenes import scene_at
from lightning_artv.systems.base import Observer, Segment
from lightning_artv.systems.settings import with_settings

FPS = 8.0
"""Of moving shapes."""


def of_a_frame(checkpoint: Path, changes: Mapping[str, Any], frames: int = ALONE) -> dict[str, Any]:
    """What a frame costs when one video is made on one thread of the CPU, and where clips begin.

    Returns:
        `parameters`; `seconds` of CPU time and `flops`, per frame; `memory_mb`, the peak of the
        whole process, Python and torch included; `clips`, frames before which denoising begins.
    """
    context = multiprocessing.get_context("spawn")  # a process that held nothing before
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_measured, checkpoint, dict(changes), frames).result()


def of_the_training(path: Path) -> dict[str, float] | None:
    """`steps`, `samples` and `flops` (forward and backward) of a training and of that which it was
    started from; None where nobody recorded them, or the one before is not there any more.
    """
    if is_exported(path):
        return None
    checkpoint = read_checkpoint(path)
    run, steps = checkpoint[CONFIG_KEY].get("run"), checkpoint.get("global_step")
    if run is None or steps is None or "batch_size" not in run["data"]:
        return None
    before = run["model"].get("init_from")
    earlier: dict[str, float] | None = {"steps": 0, "samples": 0, "flops": 0}
    if before is not None:
        earlier = of_the_training(Path(before)) if Path(before).exists() else None
    if earlier is None:
        return None
    samples = steps * run["data"]["batch_size"] * run["trainer"].get("accumulate_grad_batches", 1)
    flops = samples * _flops_of_a_sample(path, run["data"])
    found = {"steps": steps, "samples": samples, "flops": flops}
    return {name: value + earlier[name] for name, value in found.items()}


def _measured(checkpoint: Path, changes: Mapping[str, Any], frames: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    system = load_system(checkpoint)
    settings = with_settings(system.sampling, changes)
    size = video_size(system, None)
    scene = scene_at(0, 1, "heldout", size[0], None)
    first = torch.from_numpy(scene.render(0)).permute(2, 0, 1)[None] if system.continues else None
    starts: list[int] = []
    made = 0

    def generate(frames: int, observer: Observer | None = None) -> None:
        nonlocal made
        request = [Segment((scene.caption(),), frames)]
        made = 0
        for _ in system.generate(
            request, generators_for(0, ["cost"]), size, first, settings, observer
        ):
            made += 1

    generate(2)  # what is made ready at the first call does not count
    began = time.process_time()
    generate(frames)
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with _counting() as counter:
        generate(frames, lambda _: starts.append(made))
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return {
        "parameters": sum(p.numel() for p in system.parameters()),
        "seconds": seconds / frames,
        "flops": counter.get_total_flops() / frames,
        "memory_mb": peak / unit,
        "clips": sorted(set(starts)),
    }


@contextmanager
def _counting() -> Iterator[FlopCounterMode]:
    """Counts FLOPs, those of attention too, whose kernel for the CPU the counter does not know."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield counter


def _flops_of_a_sample(path: Path, data: Mapping[str, Any], count: int = 2) -> float:
    """FLOPs of a training sample, counted on moving shapes."""
    system = load_part(path).train()
    windows = system.windows(**((data.get("windows") or {}).get("init_args") or {}))
    fps = data.get("fps") or FPS
    side = data["size"] if isinstance(data["size"], int) else data["size"][0]
    scenes = [scene_at(i, 1, "heldout", side, None) for i in range(count)]
    length, rng = max(ALONE, windows.least), Random(0)
    chosen = [windows.choose(length, rng) for _ in scenes]
    clips = [scene_clip(scene, length, round(FPS / fps)) for scene in scenes]
    frames = np.stack([clip[list(w.frames)] for clip, w in zip(clips, chosen, strict=True)])
    batch = VideoBatch(
        torch.from_numpy(frames).permute(0, 1, 4, 2, 3),
        torch.tensor([w.choice for w in chosen]),
        tuple(scene.caption() for scene in scenes),
        tuple(map(str, range(count))),
        torch.tensor([fps / w.spacing for w in chosen]),
    )
    with _counting() as counter:
        output = system.loss(batch, generators_for(0, range(len(batch))))
        output.loss.backward()
    return counter.get_total_flops() / len(output.per_sample)
