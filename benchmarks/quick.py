"""`python -m benchmarks.quick`: counters, then paired timings, of training and generation on a CPU.

Counters are of Stable Diffusion 2.1's shapes; timings are of a tiny system of the same layers, each
beside what it is compared with, A B A B, as ratios of medians.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    TextToVideoSDPipeline,
    UNet3DConditionModel,
)
from torch import Tensor

from benchmarks.counters import batch, denoising_calls, frame_cost, frames, generators
from benchmarks.documents import Row, print_rows
from benchmarks.flops import costs
from benchmarks.full_size import FAST, FULL, LENGTH, PAPER, SMALL, TINY, build
from lightning_artv.systems.artv import ARTV
from lightning_artv.training.ema import EMA
from lightning_artv.training.module import VideoModule
from lightning_artv.training.optim import adamw

STEPS, CLIP, AFTER, ROUNDS = 10, 16, 1, 3
"""Denoising steps; frames of a clip that is made at once, and made one after another; rounds."""


def rows() -> Iterator[Row]:
    """All of them."""
    for part in (counted, training, generation):
        yield from part()


def counted() -> Iterator[Row]:
    """What no clock is needed for."""
    full, small = build(FULL, "meta"), build(SMALL, "cpu")
    calls = {
        name: denoising_calls(small, SMALL, s) for name, s in {"exact": PAPER, "fast": FAST}.items()
    }
    spent = {name: frame_cost(full, FULL, made) for name, made in calls.items()}
    for name, made in calls.items():
        evaluations = sum(rows for rows, _ in made)
        yield (
            f"a frame, {name}: network calls, evaluations, TFLOP",
            (f"{len(made)}, {evaluations}, {spent[name] / 1e12:.1f}"),
        )
    yield "exact / fast, FLOPs", f"{spent['exact'] / spent['fast']:.2f}"
    costs_ = costs()
    online = costs_["train"] + costs_["text"] + 4 * costs_["encode"]
    shared = costs_["train"] + (costs_["text"] + 7 * costs_["encode"]) / 4
    stored = costs_["train"] + costs_["text"]
    yield "one target per window / 4 that share it, FLOPs per target", f"{online / shared:.2f}"
    yield "frames encoded / stored latents, FLOPs per target", f"{online / stored:.2f}"
    encoded = []
    encode = small.autoencoder.moments
    with mock.patch.object(
        small.autoencoder, "moments", lambda x: encoded.append(len(x)) or encode(x)
    ):
        list(frames(small, SMALL, PAPER, 3))
    yield "autoencoder calls to encode, a video of given first frame", str(len(encoded))


def training() -> Iterator[Row]:
    """The optimiser's and the average's share of a step, on one CPU thread."""
    system = build(SMALL, "cpu").train()
    samples, parameters = batch(SMALL, 4), system.trainable_parameters()
    optimizer, ema = adamw(system, parameters, 1e-5, 1e-2, (0.9, 0.999)), EMA(0.9999)
    ema.track(VideoModule(system, lr=1e-5))

    def forward_backward() -> None:
        system.loss(samples, generators(samples, 0)).loss.backward()

    network, step, average = medians(forward_backward, optimizer.step, ema.update)
    whole = network + step + average
    yield "AdamW's share of a step of 4 samples", f"{step / whole:.1%}"
    yield "EMA's share", f"{average / whole:.1%}"


def generation() -> Iterator[Row]:
    """Time per generated frame, against ours in fast mode."""
    system = build(SMALL, "cpu").eval()
    exact = dataclasses.replace(PAPER, steps=STEPS)
    fast = dataclasses.replace(FAST, steps=STEPS * FAST.steps // PAPER.steps)
    ways: dict[str, tuple[Callable[[], Any], int]] = {
        "ours, fast": (lambda: list(frames(system, SMALL, fast, AFTER + 1)), AFTER),
        "ours, exact": (lambda: list(frames(system, SMALL, exact, AFTER + 1)), AFTER),
        "the same U-Nets in a plain loop of diffusers": (lambda: plain(system), AFTER),
        "diffusers' TextToVideoSDPipeline, 16 frames at once": (text_to_video(), CLIP),
    }
    times = medians(*(call for call, _ in ways.values()))
    per_frame = [seconds / made for seconds, (_, made) in zip(times, ways.values(), strict=True)]
    for name, seconds in zip(ways, per_frame, strict=True):
        yield f"time per frame, {name}", f"{seconds / per_frame[0]:.2f} x ours in fast mode"


def medians(*calls: Callable[[], Any]) -> list[float]:
    """Median seconds of each call, in turn (A B A B), after one of each that does not count."""
    spent: list[list[float]] = [[] for _ in calls]
    for turn in range(ROUNDS + 1):
        for call, seconds in zip(calls, spent, strict=True):
            began = time.perf_counter()
            call()
            if turn:
                seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds) for seconds in spent]


@torch.no_grad()
def plain(system: ARTV) -> Tensor:
    """As a user would write it: adapter, anchor and all four branches anew at every step."""
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False)
    scheduler.set_timesteps(STEPS)
    dynamic, mask = system.denoiser.dynamic, system.denoiser.mask
    assert mask is not None
    text, level = system.text_encoder(["a"]), torch.zeros(1, dtype=torch.long)
    previous = torch.zeros(1, 4, SMALL.latent, SMALL.latent)
    for _ in range(AFTER):
        y = torch.randn_like(previous)
        for t in scheduler.timesteps:
            noises = []
            for _ in range(4):
                seen = (previous[:, None].repeat(1, 2, 1, 1, 1), previous, text, level)
                noise, opened = (n(y, t[None], n.encode(*seen)) for n in (dynamic, mask))
                noises.append(noise * (1 - opened.sigmoid()))
            y = scheduler.step(sum(noises) / 4, t, y).prev_sample
        previous = y
    return previous


def text_to_video() -> Callable[[], Any]:
    """diffusers' pipeline with a U-Net of the same widths and random weights."""
    down = [name.replace("2D", "3D") for name in TINY["down_block_types"]]
    up = [name.replace("2D", "3D") for name in TINY["up_block_types"]]
    unet = UNet3DConditionModel(
        block_out_channels=TINY["block_out_channels"],
        down_block_types=down,
        up_block_types=up,
        layers_per_block=TINY["layers_per_block"],
        cross_attention_dim=TINY["cross_attention_dim"],
        attention_head_dim=8,
        norm_num_groups=TINY["norm_num_groups"],
    ).eval()
    blocks = (8, 8, 8, 8)
    vae = AutoencoderKL(
        block_out_channels=blocks,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=8,
    )
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False)
    pipeline = TextToVideoSDPipeline(vae, None, None, unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    tokens = torch.randn(1, LENGTH, TINY["cross_attention_dim"])
    side = SMALL.pixels
    return lambda: pipeline(
        prompt_embeds=tokens,
        negative_prompt_embeds=tokens,
        num_frames=CLIP,
        num_inference_steps=STEPS,
        height=side,
        width=side,
        output_type="latent",
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{time.strftime('%Y-%m-%d')}, torch {torch.__version__}, one thread\n")
    print_rows(rows())
