"""A protocol's videos from a checkpoint: resumable, over several devices, as lossless frames.

Each video is a folder of PNG pictures that appears whole or not at all; its noise depends on its
seed alone, so shares, batches and interruptions do not change it.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation.finding import files_of
from evaluation.inspection import inspect
from evaluation.manifest import open_manifest, versions
from evaluation.plan import Sample, plan_samples
from evaluation.protocols import CHANGEABLE, Protocol
from evaluation.sets.folder import METADATA
from evaluation.videos import ClipRule, read_first_frame
from evaluation.workers import in_processes
from lightning_artv.checkpoints.file import Weights
from lightning_artv.errors import MissingWeightsError, UserError
from lightning_artv.files import parse_yaml
from lightning_artv.generation.command import choose_device
from lightning_artv.generation.first_frame import FirstFrameModel
from lightning_artv.generation.made_by import path_digest
from lightning_artv.generation.storyboard import Shot
from lightning_artv.generation.videos import (
    VideoRequest,
    autocast,
    generate_videos,
    video_fps,
    video_size,
)
from lightning_artv.media.atomic import write_atomically
from lightning_artv.pipelines.loading import load_system
from lightning_artv.progress import Progress
from lightning_artv.systems.settings import with_settings

MODES = ("none", "text-to-image", "true-frame")
VIDEOS = "videos"


@dataclass(frozen=True)
class Generation:
    """What to generate, and how.

    Attributes:
        protocol: which videos.
        checkpoint: checkpoint of the model, or a folder that `lightning export` wrote.
        data: the real set: its classes, captions, and true first frames.
        out: folder for `videos/`, `metadata.csv` and `manifest.json`.
        mode: where first frames come from, Table 1: `none` (the model's own), `text-to-image` (a
            diffusers pipeline), `true-frame` (the real video's).
        first_frame_model: folder or hub id of that pipeline.
        prompts: file of sentences for classes instead of ours.
        size: (height, width); None for the trained one.
        sampling: (dotted name, value) of each setting in the place of the checkpoint's.
        weights: `ema` or `raw`.
        precision: `auto`, `float32` or `bfloat16`.
        batch_size: videos at once on a device; changes no video.
    """

    protocol: Protocol
    checkpoint: Path
    data: Path
    out: Path
    mode: str = "none"
    first_frame_model: str | None = None
    prompts: Path | None = None
    size: tuple[int, int] | None = None
    sampling: tuple[tuple[str, Any], ...] = ()
    weights: Weights = "ema"
    precision: str = "auto"
    batch_size: int = 4

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"A mode is one of {', '.join(MODES)}, got '{self.mode}'.")
        if self.mode == "text-to-image" and self.first_frame_model is None:
            raise MissingWeightsError(
                "The text-to-image mode needs a pipeline: name a diffusers folder or hub id with "
                "--first-frame-model."
            )


def generate(job: Generation, devices: Sequence[str]) -> Path:
    """Make what is missing of the job's videos and return the folder.

    Args:
        job: what to make.
        devices: torch devices; each takes its share in a process of its own.

    Raises:
        UserError: another run's folder, or bad input.
        MissingWeightsError: weights that the checkpoint or the job names are not there.
    """
    samples = plan_samples(job.protocol, job.data, job.prompts)
    if job.mode == "true-frame":
        reals = list({sample.real.name: sample.real for sample in samples}.values())
        inspect(reals, ClipRule.real(job.protocol), "real")
    open_manifest(job.out, _manifest(job, samples, devices[0]))
    write_atomically(job.out / METADATA, _metadata(samples))
    missing = [s for s in samples if not (job.out / VIDEOS / s.name).exists()]
    progress = Progress(len(samples), "video", start=len(samples) - len(missing))
    if missing and len(devices) == 1:
        make(job, missing, devices[0], progress)
    elif missing:
        tasks = [
            (job, share, device)
            for i, device in enumerate(devices)
            if (share := missing[i :: len(devices)])
        ]
        in_processes(make, tasks, lambda: _count(job, missing), progress)
    progress.finish()
    return job.out


def choose_devices(count: int, name: str = "auto") -> list[str]:
    """`count` devices of the best kind there is, or of the kind that is named.

    Raises:
        UserError: there are not as many.
    """
    kind = choose_device(name).type if name == "auto" or ":" not in name else name
    if count == 1:
        return [kind]
    if kind == "cuda" and count > torch.cuda.device_count():
        raise UserError(
            f"There are {torch.cuda.device_count()} GPUs here, not {count}: use fewer --devices."
        )
    return [f"cuda:{i}" if kind == "cuda" else kind for i in range(count)]


def make(
    job: Generation,
    samples: Sequence[Sample],
    device_name: str,
    on_done: Callable[[int], None] | None = None,
) -> None:
    """Make these videos on one device; `on_done` is told how many were finished.

    Raises:
        UserError, MissingWeightsError: as `generate`.
    """
    device = choose_device(device_name)
    first_frames = _first_frames(job, device)
    system = load_system(job.checkpoint, job.weights, device)
    size, fps = video_size(system, job.size), video_fps(system)
    settings = with_settings(
        system.sampling, dict(job.sampling), f", and a protocol {', '.join(CHANGEABLE)}"
    )
    for start in range(0, len(samples), job.batch_size):
        batch = samples[start : start + job.batch_size]
        pictures = first_frames(batch, size)
        requests = [
            VideoRequest(
                (Shot(sample.prompt, job.protocol.frames),),
                job.out / VIDEOS / sample.name,
                job.protocol.seed + sample.index,
                picture,
            )
            for sample, picture in zip(batch, pictures, strict=True)
        ]
        with autocast(device, job.precision):
            generate_videos(system, requests, size, fps, settings)
        if on_done is not None:
            on_done(len(batch))


FirstFrames = Callable[[Sequence[Sample], tuple[int, int]], Sequence[Tensor | None]]


def _first_frames(job: Generation, device: torch.device) -> FirstFrames:
    """Samples and (height, width) -> a first frame, uint8 `[3, H, W]`, or None, for each."""
    if job.mode == "none":
        return lambda batch, size: [None] * len(batch)
    if job.mode == "true-frame":
        rule = ClipRule.real(job.protocol)
        return lambda batch, size: [read_first_frame(s.real, rule, size) for s in batch]
    model = FirstFrameModel(str(job.first_frame_model), device)
    return lambda batch, size: model(
        [s.prompt for s in batch], [job.protocol.seed + s.index for s in batch], size
    )


def _count(job: Generation, samples: Sequence[Sample]) -> int:
    return sum((job.out / VIDEOS / sample.name).exists() for sample in samples)


def _manifest(job: Generation, samples: Sequence[Sample], device: str) -> dict[str, Any]:
    """What moves the pixels; neither batch size nor number of devices does."""
    pictures = _first_frames_digest(job, samples)
    plan = "\n".join(f"{s.name}\t{s.prompt}\t{s.real.name}" for s in samples)
    return {
        "protocol": job.protocol.name,
        "protocol_hash": job.protocol.hash,
        "settings": job.protocol.settings(),
        "mode": job.mode,
        "first_frame_model": job.first_frame_model if job.mode == "text-to-image" else None,
        "checkpoint_sha256": path_digest(job.checkpoint, "checkpoint"),
        "weights": job.weights,
        "size": list(job.size) if job.size else None,
        "sampling": {name: _plain(value) for name, value in job.sampling},
        "precision": job.precision,
        "device": torch.device(device).type,
        "videos": len(samples),
        "plan_sha256": hashlib.sha256(plan.encode()).hexdigest(),
        "versions": versions(),
        **({} if pictures is None else {"first_frames_sha256": pictures}),
    }


def _first_frames_digest(job: Generation, samples: Sequence[Sample]) -> str | None:
    """sha256 of what first frames come from: a pipeline's folder, or the real videos' names and
    sizes (their content would take too long); None for a hub id, and without first frames.
    """
    if job.mode == "text-to-image":
        folder = Path(str(job.first_frame_model))
        return path_digest(folder) if folder.is_dir() else None
    if job.mode != "true-frame":
        return None
    files = [file for sample in samples for file in files_of(sample.real)]
    lines = [f"{file.parent.name}/{file.name} {file.stat().st_size}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A setting's value; a text of `--set` is what YAML reads it as."""
    return parse_yaml(value) if isinstance(value, str) else value


def _metadata(samples: Sequence[Sample]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)  # its own line end: with another, a \r in a prompt is not quoted
    writer.writerow(["file_name", "text"])
    writer.writerows((f"{VIDEOS}/{s.name}", s.prompt) for s in samples)
    return text.getvalue().encode()
