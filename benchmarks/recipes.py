"""What one training sample of each system at full size costs, counted on `meta` tensors.

Shapes are those of Stable Diffusion 2.1-base, everything else is what `configs/*/train.yaml` and
`configs/videogen/base.yaml` say. No weights, no GPU, no clock.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.counters import flops, generators
from benchmarks.full_size import UNET, Averages, Shapes, Words
from lightning_artv.batch import VideoBatch
from lightning_artv.data.windows import ConsecutiveFrames
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.build import DenoiserOptions as ARTVOptions
from lightning_artv.systems.artv.windows import NextFrame
from lightning_artv.systems.videogen import Base
from lightning_artv.systems.videogen.denoiser import DenoiserOptions as StageOptions
from lightning_artv.systems.vidrd import VidRD
from lightning_artv.systems.vidrd.denoiser import DenoiserOptions as VidRDOptions

CONFIGS = Path(__file__).parents[1] / "configs"
CHANNELS, FACTOR, HALF = 8, 8, 2
"""Stored per latent pixel: means and deviations of 4 channels; its side in pixels; bytes each."""


@dataclass(frozen=True)
class Recipe:
    """A system's training at full size.

    Attributes:
        trained: parameters that are trained.
        frozen: parameters of its networks that are not (LoRA's base, VidRD's image layers).
        sample_flops: FLOPs of a training sample, forward and backward, from stored latents.
        backward_flops: those of its backward pass alone.
        frame_bytes: of a stored latent frame.
        frames: frames of a training sample.
        fps: frames stored per second of video.
        batch: samples per optimiser step over all devices.
        steps: optimiser steps.
    """

    trained: int
    frozen: int
    sample_flops: int
    backward_flops: int
    frame_bytes: int
    frames: int
    fps: int
    batch: int
    steps: int


@cache
def recipes() -> dict[str, Recipe]:
    """The recipe of each system, by its name."""
    return {
        "ART•V": counted(ARTV, ARTVOptions, "artv/train.yaml"),
        "VidRD": counted(VidRD, VidRDOptions, "vidrd/train.yaml"),
        "VideoGen, base": counted(Base, StageOptions, "videogen/base.yaml"),
    }


def counted(system_class: Any, options: Any, name: str) -> Recipe:
    """What a configuration's training costs."""
    config = yaml.safe_load((CONFIGS / name).read_text())
    model, data = config["model"], config["data"]
    wanted = model["system"]["init_args"]["denoiser"]
    with torch.device("meta"):
        words = Words(UNET["cross_attention_dim"])
        system = system_class.build(Shapes(), Averages(), words, options(**wanted)).train()
    side = data["size"] // FACTOR
    samples, forward = sample(wanted.get("clip_frames"), side), FlopCounterMode(display=False)
    with forward:
        loss = system.loss(samples, generators(samples, 1)).loss
    backward, there = flops(loss.backward), forward.get_total_flops()
    trained = numbers(system.trainable_parameters().values())
    return Recipe(
        trained=trained,
        frozen=numbers(system.parameters()) - trained,
        sample_flops=there + backward,
        backward_flops=backward,
        frame_bytes=CHANNELS * side * side * HALF,
        frames=samples.frames.shape[1],
        fps=data["fps"],
        batch=model["global_batch_size"],
        steps=config["trainer"]["max_steps"],
    )


def sample(clip_frames: int | None, side: int) -> VideoBatch:
    """One sample of stored latents: a clip, or what ART•V makes its next frame of."""
    rule = NextFrame() if clip_frames is None else ConsecutiveFrames(clip_frames)
    window = rule.choose(100, random.Random(0))
    shape = (1, len(window.frames), CHANNELS, side, side)
    frames = torch.zeros(shape, dtype=torch.float16, device="meta")
    choice = torch.tensor([window.choice], device="meta")
    return VideoBatch(frames, choice, ("a dog runs",), ("key",), torch.tensor([8.0]))


def numbers(parameters: Any) -> int:
    """How many numbers parameters hold."""
    return sum(parameter.numel() for parameter in parameters)
