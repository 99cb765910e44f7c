"""What `benchmarks.gpu` measures with: a full-size system, a training step, a frame, a clock."""

from __future__ import annotations

import dataclasses
import gc
import statistics
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from benchmarks.counters import batch, flops, frames, generators
from benchmarks.full_size import FAST, FULL, SMALL, Size, build
from lightning_artv.systems.artv.settings import ARTVSampling

MOST_FRAMES = 100_000
"""Of a video; it is never finished."""


def device_for(tiny: bool) -> torch.device:
    """The GPU, where there is one and the sizes are not tiny."""
    return torch.device("cuda" if torch.cuda.is_available() and not tiny else "cpu")


class Bench:
    """A system and how it is run."""

    def __init__(self, tiny: bool) -> None:
        self.tiny, self.device = tiny, device_for(tiny)
        self.size: Size = SMALL if tiny else FULL
        self.system = build(self.size, self.device)
        self.parameters = self.system.trainable_parameters()
        self.batches = (1, 2) if tiny else (8, 32, 64)
        self.videos = (1,) if tiny else (1, 8)
        self.steps = 4 if tiny else 50
        self.fast = dataclasses.replace(FAST, steps=4) if tiny else FAST
        self.step = 0
        self.optimizer: torch.optim.Optimizer | None = None
        self.ema: Any = None

    def needs_cuda(self) -> None:
        if self.device.type != "cuda":
            raise RuntimeError("needs CUDA")

    def sync(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def clean(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def autocast(self) -> Any:
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def milliseconds(self, call: Callable[[], Any], times: int = 5) -> float:
        """The median of a call's wall time; the first call does not count."""
        call()
        spent = []
        for _ in range(1 if self.tiny else times):
            self.sync()
            began = time.perf_counter()
            call()
            self.sync()
            spent.append(1000 * (time.perf_counter() - began))
        return statistics.median(spent)

    def forward_backward(self, samples: Any) -> Any:
        self.step += 1
        with self.autocast():
            output = self.system.train().loss(samples, generators(samples, self.step))
        output.loss.backward()
        return output

    def train_step(self, samples: Any) -> None:
        """All of an optimiser step: guard, clipping, AdamW, the average."""
        from lightning_artv.training.optim import gradient_norm

        self.prepare_optimizer()
        assert self.optimizer is not None
        output = self.forward_backward(samples)
        norm = gradient_norm(self.parameters)
        torch.stack([norm, output.per_sample.isfinite().all().to(norm)]).tolist()
        nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update()

    def prepare_optimizer(self) -> None:
        if self.optimizer is None:
            from lightning_artv.training.ema import EMA
            from lightning_artv.training.module import VideoModule
            from lightning_artv.training.optim import adamw

            self.optimizer = adamw(self.system, self.parameters, 1e-5, 1e-2, (0.9, 0.999))
            self.ema = EMA(0.9999)
            self.ema.track(VideoModule(self.system, lr=1e-5))

    @cache  # noqa: B019  one object for the whole process
    def sample_flops(self) -> int:
        """FLOPs of a training sample, forward and backward."""
        samples = batch(self.size, 1, device=self.device)
        return flops(lambda: self.forward_backward(samples))

    def frame(self, settings: ARTVSampling, videos: int) -> Callable[[], Any]:
        """Makes the next frame of `videos` videos."""
        made = frames(self.system, self.size, settings, MOST_FRAMES, videos)
        next(made)

        def call() -> None:
            with self.autocast(), torch.no_grad():
                next(made).cpu()

        return call
