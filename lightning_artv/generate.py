"""`lightning generate`: videos from a trained checkpoint."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lightning_artv.errors import UserError
from lightning_artv.first_frame import FirstFrameModel
from lightning_artv.generate_options import Planned, plan
from lightning_artv.generation import (
    VideoRequest,
    autocast,
    generate_videos,
    video_fps,
    video_size,
)
from lightning_artv.media import read_image
from lightning_artv.progress import Progress
from lightning_artv.systems.base import SamplingSettings, VideoSystem
from lightning_artv.training.checkpoint import Weights, load_system
from lightning_artv.training.sharded_checkpoint import is_sharded


def run(options: argparse.Namespace) -> int:
    """Make the videos that the options describe and print their paths.

    Raises:
        UserError: bad options or files, in one sentence.
        MissingWeightsError: weights that an option or the checkpoint names are not there.
    """
    videos = plan(options)
    device = choose_device(options.device)
    system = _load(options.checkpoint, options.weights, device)
    size = video_size(system, options.size)
    fps = options.fps if options.fps is not None else video_fps(system)
    settings = sampling_settings(system.sampling, options)
    image = read_image(options.image, size) if options.image else None
    model = options.first_frame_model
    first_frames = FirstFrameModel(model, device) if model else None
    progress = Progress(sum(shot.frames for _, shots, _ in videos for shot in shots))
    for start in range(0, len(videos), options.batch_size):
        batch = videos[start : start + options.batch_size]
        requests = _requests(batch, options.seed, image, first_frames, size)
        with autocast(device, options.precision):
            generate_videos(system, requests, size, fps, settings, progress)
    progress.finish()
    for _, _, output in videos:
        print(output)
    return 0


def _load(path: str, weights: Weights, device: torch.device) -> VideoSystem:
    """The system of a checkpoint, or of an exported folder, which holds one set of weights."""
    if not Path(path).is_dir() or is_sharded(path):
        return load_system(path, weights, device)
    from lightning_artv.pipeline import ARTVPipeline

    if weights != "ema":
        raise UserError(f"{path} is an exported folder: --weights was chosen when it was made.")
    return ARTVPipeline.from_pretrained(path).to_system().to(device)


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA, else Apple's MPS, else the CPU.

    Raises:
        UserError: a name that torch does not know, or a device that is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"There is no device '{name}' here: use auto or cpu.") from error
    return device


def sampling_settings(defaults: SamplingSettings, options: argparse.Namespace) -> SamplingSettings:
    """The system's sampling settings with the given options in their place."""
    guidance = defaults.guidance
    if options.guidance is not None:
        references, anchor, text = options.guidance
        guidance = dataclasses.replace(guidance, references=references, anchor=anchor, text=text)
    single = {
        name: getattr(options, f"guidance_{name}") for name in ("references", "anchor", "text")
    }
    guidance = dataclasses.replace(guidance, **{k: v for k, v in single.items() if v is not None})
    given = {
        "steps": options.steps,
        "sampler": options.sampler,
        "noise_level": options.noise_level,
        "clip_latents": options.clip,
        "segment_anchor": options.segment_anchor or None,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(defaults, guidance=guidance, **changed)


def _requests(
    videos: Sequence[Planned],
    seed: int,
    image: Tensor | None,
    first_frames: FirstFrameModel | None,
    size: tuple[int, int],
) -> list[VideoRequest]:
    requests = [VideoRequest(shots, path, seed + index, image) for index, shots, path in videos]
    if first_frames is None:
        return requests
    prompts = [request.shots[0].prompt for request in requests]
    pictures = first_frames(prompts, [request.seed for request in requests], size)
    return [
        dataclasses.replace(request, first_frame=picture)
        for request, picture in zip(requests, pictures, strict=True)
    ]
