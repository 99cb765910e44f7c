"""`python -m evaluation decoder`: a video decoder beside the image decoder, on known clips."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluation.notes import Notes
from evaluation.parts.clips import Clip
from evaluation.parts.job import RESULT, Job, Values, sentence, side_by_side, summary
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import check_whole
from lightning_artv.progress import Progress
from lightning_artv.systems.decoder.degradations import degrade_clips
from lightning_artv.systems.decoder.system import VideoDecoder

SHOWN = "decoded.gif"
IMAGE, OURS, JOINED, BESIDE = "image", "video", "video, no context", "beside"
GIVEN = "given"
"""What is encoded, as it is, where that is not the truth."""
CLEAN, STILL, DEGRADED = "clean", "still", "degraded"
HIGHER_IS_BETTER = {"psnr": True, "flicker": False, "join_flicker": False}


@dataclass(frozen=True)
class Decoded(Job):
    """What to measure of a video decoder.

    Attributes:
        frames: frames of each clip; more than the decoder's own, so that there are joins.
        beside: another decoder's checkpoint to compare with, such as an image decoder that was
            trained on the same clips.
    """

    frames: int = 16
    beside: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("frames of a clip", self.frames, 2)


Decode = Callable[[Tensor], Tensor]
"""Latents `[B, F, C, h, w]` to uint8 pixels."""


def run(job: Decoded) -> dict[str, Any]:
    """Measure on latents of clean clips, of their first frames standing still, and of degraded
    clips; write `decoded.gif`, of what the decoder was trained on, then `result.json`.

    Raises:
        UserError: a checkpoint of something else.
        DataError: no video that can be used.
    """
    part, notes = job.part(VideoDecoder), Notes()
    decoders = _decoders(job, part)
    clips = job.read(part, job.frames, 2, notes)
    sources = [clip.source for clip in clips]
    measured: dict[str, Any] = {}
    shown: dict[str, dict[str, list[Tensor]]] = {}
    for kind in (CLEAN, STILL, DEGRADED):
        values, shown[kind] = _measure(job, part, decoders, clips, kind)
        measured[kind] = _summary(sources, values)
    measured[CLEAN]["truth_changes"] = float(np.mean([changes(clip.frames) for clip in clips]))
    rows = shown[CLEAN if part.training_options.degrade is None else DEGRADED]
    result = {
        "frames": job.frames,
        "decoder": dataclasses.asdict(part.joins),
        "degradations": "bsrgan",
        "latents": measured,
        "notes": notes.sentences,
    }
    return job.write((SHOWN, side_by_side(rows, job.seed)), result)


def _decoders(job: Decoded, part: VideoDecoder) -> dict[str, Decode]:
    joined = part.video_autoencoder()
    joined.joins = dataclasses.replace(part.joins, context=0)
    found: dict[str, Decode] = {
        IMAGE: part.autoencoder.decode_clip,
        OURS: part.video_autoencoder().decode_clip,
        JOINED: joined.decode_clip,
    }
    if job.beside is not None:
        found[BESIDE] = job.part(VideoDecoder, job.beside).video_autoencoder().decode_clip
    return found


def _measure(
    job: Decoded,
    part: VideoDecoder,
    decoders: dict[str, Decode],
    clips: Sequence[Clip],
    kind: str,
) -> tuple[Values, dict[str, list[Tensor]]]:
    """Metric -> decoder -> one value per clip, and the first clips by row of pictures."""
    device = next(part.parameters()).device
    values: dict[str, dict[str, list[float]]] = {metric: {} for metric in HIGHER_IS_BETTER}
    rows: dict[str, list[Tensor]] = {}
    progress = Progress(len(clips), "clip")
    for index, clip in enumerate(clips):
        generators = generators_for(job.seed, [f"decoder:{clip.source}:{index}"])
        frames = clip.frames[:1].expand_as(clip.frames) if kind == STILL else clip.frames
        truth = frames[None].to(device)
        given = {GIVEN: degrade_clips(truth, generators)} if kind == DEGRADED else {}
        latents = part.autoencoder.encode_clips(given.get(GIVEN, truth), generators)
        made = given | {name: decode(latents) for name, decode in decoders.items()}
        for name, frames in made.items():
            measures = measure(frames[0], truth[0], part.joins.clip_frames)
            for metric, value in measures.items():
                values[metric].setdefault(name, []).append(value)
        if index < job.shown:
            for name, frames in {"truth": truth, **made}.items():
                rows.setdefault(name, []).append(frames[0].cpu())
        progress(1)
    progress.finish()
    return values, rows


def measure(frames: Tensor, truth: Tensor, clip_frames: int) -> dict[str, float]:
    """PSNR, and what flickers: the mean change, from frame to frame, of what is wrong.

    A decoder that is wrong in the same way in every frame does not flicker. `join_flicker` is of
    the pairs between two parts that were decoded one after the other.

    Args:
        frames, truth: uint8 `[T, 3, H, W]`.
        clip_frames: frames decoded together.
    """
    wrong = frames.float() - truth.float()
    error = wrong.square().flatten(1).mean(dim=1).clamp_min(255**2 / 1e10)
    change = (wrong[1:] - wrong[:-1]).abs().flatten(1).mean(dim=1)
    joins = change[clip_frames - 1 :: clip_frames]
    return {
        "psnr": float((10 * torch.log10(255**2 / error)).mean()),
        "flicker": float(change.mean()),
        "join_flicker": float(joins.mean()) if len(joins) else float("nan"),
    }


def changes(frames: Tensor) -> float:
    """Mean change of pixels from frame to frame, of uint8 `[T, 3, H, W]`."""
    return float(frames.float().diff(dim=0).abs().mean())


def _summary(sources: list[str], values: Values) -> dict[str, Any]:
    """Means over videos, and the video decoder against each other one."""
    if np.isnan([*values["join_flicker"].values()]).any():  # clips without a join
        values = {m: v for m, v in values.items() if m != "join_flicker"}
    against = [(OURS, other) for other in values["psnr"] if other != OURS]
    return summary(sources, values, against, HIGHER_IS_BETTER, "decoders")


def command(options: argparse.Namespace) -> int:
    """`decoder`: print the means and tests, and where they are."""
    job = Decoded.of(options)
    for kind, found in run(job)["latents"].items():
        print(f"{kind} latents, {found['videos']} videos")
        if kind == CLEAN:
            print(f"  the truth changes by {found['truth_changes']:.3f} from frame to frame")
        for name, means in found["decoders"].items():
            others = "".join(f"  {m} {v:6.3f}" for m, v in means.items() if m != "psnr")
            print(f"  {name:18} {means['psnr']:6.2f} dB{others}")
        for metric, tests in found["tests"].items():
            for test in tests:
                print(f"  {metric}: {sentence(test, 3)}")
    print(job.out / RESULT)
    return 0
