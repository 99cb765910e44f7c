"""`python -m benchmarks.demo_step`: a training step of `configs/artv/demo.yaml`, and its parts.

In this process's CPU time, which other processes do not disturb; what a step waits for the loader
is by the clock.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from benchmarks.counters import flops, generators
from benchmarks.documents import Row, print_rows
from data_prep.options import ShapesOptions
from data_prep.shards.shapes import write_shapes
from lightning_artv.batch import VideoBatch
from lightning_artv.checkpoints.instantiate import instantiate_system
from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.systems.artv.windows import NextFrame
from lightning_artv.training.ema import EMA
from lightning_artv.training.module import VideoModule
from lightning_artv.training.optim import adamw, gradient_norm

CONFIG = Path(__file__).parents[1] / "configs" / "artv" / "demo.yaml"
CLIPS, STEPS = 96, 6


def rows() -> Iterator[Row]:
    """The step, its parts, and what it waits for."""
    demo = Demo(yaml.safe_load(CONFIG.read_text()))
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(folder, "shards")
        write_shapes(shards, ShapesOptions(CLIPS))
        samples = next(demo.batches(shards, 0))
        yield from parts(demo, samples)
        for workers in (0, 1, 2):
            share = waiting(demo, demo.batches(shards, workers))
            yield f"share of a step that waits for the loader, {workers} workers", f"{share:.1%}"


class Demo:
    """The demo's system in training."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.model, self.data = config["model"], config["data"]
        torch.manual_seed(0)
        self.system = instantiate_system(self.model["system"]).train()
        self.parameters = self.system.trainable_parameters()
        betas, lr = tuple(self.model["betas"]), self.model["lr"]
        self.optimizer = adamw(self.system, self.parameters, lr, 1e-2, betas)
        self.ema = EMA(0.995)
        self.ema.track(VideoModule(self.system, lr=lr))
        self.steps = count()

    def batches(self, shards: Path, workers: int) -> Iterator[VideoBatch]:
        """Batches as the demo reads them."""
        data = VideoDataModule(
            str(shards),
            size=self.data["size"],
            fps=self.data["fps"],
            windows=NextFrame(**self.data["windows"]["init_args"]),
            batch_size=self.data["batch_size"],
            num_workers=workers,
        )
        return iter(data.train_dataloader())

    def forward_backward(self, samples: VideoBatch) -> None:
        self.system.loss(samples, generators(samples, next(self.steps))).loss.backward()

    def clip(self) -> None:
        """The guard's norm, and clipping."""
        gradient_norm(self.parameters)
        nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)

    def step(self, samples: VideoBatch) -> None:
        """All of an optimiser step."""
        self.optimizer.zero_grad()
        self.forward_backward(samples)
        self.clip()
        self.optimizer.step()
        self.ema.update()


def parts(demo: Demo, samples: VideoBatch) -> Iterator[Row]:
    """CPU time of a step and the shares of its parts."""
    calls: dict[str, Callable[[], Any]] = {
        "forward and backward": lambda: demo.forward_backward(samples),
        "gradient norms and clipping": demo.clip,
        "AdamW": demo.optimizer.step,
        "EMA": demo.ema.update,
    }
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(STEPS + 1):
        demo.optimizer.zero_grad()
        for name, call in calls.items():
            began = time.process_time()
            call()
            if turn:
                spent[name].append(time.process_time() - began)
    medians = {name: statistics.median(times) for name, times in spent.items()}
    whole = sum(medians.values())
    operations = flops(lambda: demo.forward_backward(samples))
    yield f"a step of {len(samples)} samples, CPU time, s", f"{whole:.3f}"
    rate = operations / medians["forward and backward"] / 1e9
    yield "its forward and backward, GFLOP, GFLOP/s", f"{operations / 1e9:.1f}, {rate:.0f}"
    for name, seconds in medians.items():
        yield f"share of {name}", f"{seconds / whole:.1%}"


def waiting(demo: Demo, batches: Iterator[VideoBatch]) -> float:
    """Share of the time of some steps that is spent waiting for batches, after the first one."""
    samples, waited = next(batches), 0.0
    began = time.perf_counter()
    for _ in range(STEPS):
        demo.step(samples)
        before = time.perf_counter()
        samples = next(batches)
        waited += time.perf_counter() - before
    return waited / (time.perf_counter() - began)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print_rows(rows())
