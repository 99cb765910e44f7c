"""`lightning generate`: videos from a trained checkpoint."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from lightning_artv.errors import UserError
from lightning_artv.generation.first_frame import FirstFrameModel
from lightning_artv.generation.made_by import difference, path_digest, system_digest, tensors_digest
from lightning_artv.generation.options import Planned, plan
from lightning_artv.generation.videos import (
    VideoRequest,
    autocast,
    generate_videos,
    in_bfloat16,
    video_fps,
    video_size,
)
from lightning_artv.media import read_image
from lightning_artv.networks.preview import load_tiny, previewing
from lightning_artv.pipelines.composing import load_model
from lightning_artv.progress import Progress
from lightning_artv.systems.artv.flags import given_settings
from lightning_artv.systems.base import SamplingSettings, VideoModel
from lightning_artv.systems.settings import with_settings

SIGNALS = ("SIGTERM", "SIGHUP")


def run(options: argparse.Namespace) -> int:
    """Make the videos that the options describe and print their paths.

    Raises:
        UserError: bad options or files, in one sentence.
        MissingWeightsError: weights that an option or the checkpoint names are not there.
    """
    with ended_by_signals(), ExitStack() as ended:
        videos = plan(options)
        device = choose_device(options.device)
        system = load_model(options.checkpoint, options.weights, device)
        if system.note:
            print(f"note: {system.note}", file=sys.stderr)
        tiny = None if options.preview is None else load_tiny(options.preview)
        ended.enter_context(previewing(system, tiny))
        size = video_size(system, options.size)
        settings = with_settings(system.sampling, given_settings(options, options.changes))
        fps = options.fps if options.fps is not None else video_fps(system, settings)
        image = read_image(options.image, size) if options.image else None
        common = _common_record(options, system, size, fps, settings, image, device)
        requests = _requests(videos, options.seed, image, common)
        if options.prompts is not None:
            requests = _not_there(requests, options.overwrite)
        _make(options, system, requests, size, fps, settings, device)
    for request in requests:
        print(request.output)
    return 0


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP end the work as an exception does, with exit code 128 + number."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # the end is on its way
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    if threading.current_thread() is not threading.main_thread():
        before = {}  # no other thread may set handlers
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as under nohup
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _common_record(
    options: argparse.Namespace,
    system: VideoModel,
    size: tuple[int, int],
    fps: float,
    settings: SamplingSettings,
    image: Tensor | None,
    device: torch.device,
) -> dict[str, Any]:
    """What makes all videos of a command, as plain data; nothing that changes no pixel."""
    model = options.first_frame_model
    return {
        "size": list(size),
        "fps": fps,
        "sampling": dataclasses.asdict(settings),
        "weights": options.weights,
        "weights_sha256": system_digest(system),
        "image_sha256": None if image is None else tensors_digest({"image": image}),
        "first_frame_model": model,
        "first_frame_model_sha256": path_digest(Path(model)) if _is_folder(model) else None,
        "precision": "bfloat16" if in_bfloat16(device, options.precision) else "float32",
        "device": device.type,
    }


def _is_folder(model: str | None) -> bool:
    return model is not None and Path(model).is_dir()


def _requests(
    videos: Sequence[Planned], seed: int, image: Tensor | None, common: Mapping[str, Any]
) -> list[VideoRequest]:
    requests = []
    for index, shots, path in videos:
        own = {"shots": [dataclasses.asdict(shot) for shot in shots], "seed": seed + index}
        requests.append(VideoRequest(shots, path, seed + index, image, {**own, **common}))
    return requests


def _not_there(requests: Sequence[VideoRequest], overwrite: bool) -> list[VideoRequest]:
    """The requests whose videos are not there already.

    Raises:
        UserError: videos of those names were made in another way, and are not to be overwritten.
    """
    there = {r.output: difference(r.output, r.record or {}) for r in requests if r.output.exists()}
    other = {path: how for path, how in there.items() if how is not None}
    if other and not overwrite:
        path, how = next(iter(other.items()))
        count = f", like {len(other) - 1} more," if len(other) > 1 else ""
        raise UserError(
            f"'{path}' is there{count} but was made in another way ({how}): name another folder, "
            "or add --overwrite to make it anew."
        )
    equal = set(there) - set(other)
    if there:
        print(f"{len(equal)} of {len(requests)} videos are there.", file=sys.stderr)
    return [request for request in requests if request.output not in equal]


def _make(
    options: argparse.Namespace,
    system: VideoModel,
    requests: Sequence[VideoRequest],
    size: tuple[int, int],
    fps: float,
    settings: SamplingSettings,
    device: torch.device,
) -> None:
    model = options.first_frame_model
    first_frames = FirstFrameModel(model, device) if model and requests else None
    progress = Progress(sum(shot.frames for request in requests for shot in request.shots))
    try:
        for start in range(0, len(requests), options.batch_size):
            batch = requests[start : start + options.batch_size]
            if first_frames is not None:
                batch = _with_first_frames(batch, first_frames, size)
            with autocast(device, options.precision):
                generate_videos(system, batch, size, fps, settings, progress)
    finally:
        progress.finish()


def _with_first_frames(
    requests: Sequence[VideoRequest], model: FirstFrameModel, size: tuple[int, int]
) -> list[VideoRequest]:
    prompts = [request.shots[0].prompt for request in requests]
    pictures = model(prompts, [request.seed for request in requests], size)
    return [
        dataclasses.replace(request, first_frame=picture)
        for request, picture in zip(requests, pictures, strict=True)
    ]


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
