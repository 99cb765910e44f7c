"""What training at full size costs on 1 to 512 GPUs; pure.

Seconds, bytes and FLOPs everywhere. docs/scaling.md says what is counted, measured and assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.recipes import Recipe

GB = 1e9

# Measured on one H100 (80 GB HBM3), 2026-11-26: ART•V, bf16 autocast, eager, 40x40 latents
BATCHES, FORWARD_BACKWARD = (8, 16, 32, 64), (0.383, 0.376, 0.418, 0.503)
FINISH = 0.076
"""Guard, clipping, AdamW and EMA of 1.23 billion numbers, once per optimiser step."""
MOST = max(BATCHES)
"""Samples per GPU that fit in its memory (74 GiB)."""
PEAK = 990e12
"""bf16 FLOP/s of an H100, dense, as its maker says."""
GOAL = 0.45
"""Share of the peak that is aimed at; nothing has reached it."""

VIDEOS, SECONDS = 5e6, 17.5
"""Videos of WebVid-5M, and their mean length: 52,000 hours of 10.7 million in WebVid-10M."""
BITRATE = 90.6e3
"""Bytes per second of video in training shards: measured on 24 real clips, 2026-11-27."""


@dataclass(frozen=True)
class Cluster:
    """What GPUs are joined by; assumed.

    Attributes:
        a_node: GPUs of a machine.
        inside: bytes per second and direction of a GPU's links to the others of its machine.
        between: the same of a machine to others.
        used: share of these that a collective call reaches.
        writer: bytes per second that one machine writes to shared storage.
        storage: the same, all machines together.
    """

    a_node: int = 8
    inside: float = 450 * GB
    between: float = 8 * 50 * GB
    used: float = 0.8
    writer: float = 2 * GB
    storage: float = 20 * GB

    def bandwidth(self, gpus: int) -> float:
        """Bytes per second of the slowest link in a ring of GPUs."""
        slowest = self.inside if gpus <= self.a_node else min(self.inside, self.between)
        return self.used * slowest

    def nodes(self, gpus: int) -> int:
        """Machines that hold so many GPUs."""
        return math.ceil(gpus / self.a_node)


FAST, SLOW = Cluster(), Cluster(between=12.5 * GB)
"""8 x 400 Gb/s per machine, and 100 Gb/s per machine."""


@dataclass(frozen=True)
class Split:
    """How a global batch is divided: `batch` = GPUs x micro-batches x samples."""

    gpus: int
    micro_batches: int
    samples: int

    @property
    def batch(self) -> int:
        """Samples per optimiser step over all GPUs."""
        return self.gpus * self.micro_batches * self.samples


def split(batch: int, gpus: int, most: int = MOST) -> Split:
    """The fewest micro-batches that fit in memory; a larger batch where it does not divide."""
    own = math.ceil(batch / gpus)
    samples = next(n for n in range(min(own, most), 0, -1) if own % n == 0)
    return Split(gpus, own // samples, samples)


def measured_seconds(samples: float) -> float:
    """Forward and backward of so many samples on one GPU: between the measured batches a line."""
    return float(np.interp(samples, BATCHES, FORWARD_BACKWARD))


def ddp_bytes(trained: int, gpus: int) -> float:
    """What each GPU sends per optimiser step: a ring all-reduce of float32 gradients."""
    return 2 * (gpus - 1) / gpus * 4 * trained


def fsdp_bytes(trained: int, gpus: int) -> float:
    """What each GPU sends per micro-batch: bfloat16 weights are gathered in the forward and in the
    backward pass, float32 gradients are reduced and scattered.
    """
    return (gpus - 1) / gpus * (2 + 2 + 4) * trained


def ddp_exposed(recipe: Recipe, cluster: Cluster, way: Split) -> float:
    """Seconds of the all-reduce that the last micro-batch's backward pass does not hide."""
    hidden = measured_seconds(way.samples) * recipe.backward_flops / recipe.sample_flops
    sent = ddp_bytes(recipe.trained, way.gpus) / cluster.bandwidth(way.gpus)
    return max(0.0, sent - hidden)


def fsdp_exposed(recipe: Recipe, cluster: Cluster, way: Split) -> float:
    """The same under FSDP2, whose units are sent beside the computation of others."""
    sent = fsdp_bytes(recipe.trained, way.gpus) / cluster.bandwidth(way.gpus)
    return way.micro_batches * max(0.0, sent - measured_seconds(way.samples))


def state_bytes(recipe: Recipe) -> int:
    """Of a checkpoint: weights, their average and AdamW's two moments in float32, frozen weights
    left out.
    """
    return 16 * recipe.trained


def write_seconds(recipe: Recipe, cluster: Cluster, gpus: int, sharded: bool) -> float:
    """All GPUs wait while the first writes (DDP), or while each machine writes its part (FSDP2)."""
    writers = cluster.nodes(gpus) if sharded else 1
    return state_bytes(recipe) / min(writers * cluster.writer, cluster.storage)


def read_seconds(recipe: Recipe, cluster: Cluster, gpus: int) -> float:
    """Every machine reads the whole checkpoint at once."""
    return state_bytes(recipe) * cluster.nodes(gpus) / cluster.storage


def step_seconds(recipe: Recipe, cluster: Cluster, way: Split) -> float:
    """An optimiser step of ART•V under DDP, as the parts of one were measured."""
    computed = way.micro_batches * measured_seconds(way.samples) + FINISH
    return computed + ddp_exposed(recipe, cluster, way)


def goal_step_seconds(recipe: Recipe, way: Split) -> float:
    """A step of any system at the share of the peak that is aimed at, everything included."""
    return way.micro_batches * way.samples * recipe.sample_flops / (GOAL * PEAK)


def video_bytes() -> float:
    """Of the training shards of WebVid-5M."""
    return VIDEOS * SECONDS * BITRATE


def latent_frames(recipe: Recipe) -> float:
    """Frames of WebVid-5M at the recipe's rate, each of which is encoded once."""
    return VIDEOS * SECONDS * recipe.fps


def passes(recipe: Recipe) -> float:
    """How often a training sees each video."""
    return recipe.steps * recipe.batch / VIDEOS
