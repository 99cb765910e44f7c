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

from evaluation.manifest import to_json
from evaluation.notes import Notes
from evaluation.parts.clips import Clip, required, square, videos, worlds
from evaluation.parts.paired import by_source, paired
from evaluation.studies.pictures import SideBySide
from lightning_artv.checkpoints.file import load_part
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError, check_whole
from lightning_artv.generation.command import choose_device
from lightning_artv.media.atomic import write_atomically
from lightning_artv.progress import Progress
from lightning_artv.systems.decoder.degradations import degrade_clips
from lightning_artv.systems.decoder.system import VideoDecoder

RESULT, SHOWN = "result.json", "decoded.gif"
IMAGE, OURS, JOINED, BESIDE = "image", "video", "video, no context", "beside"
HIGHER_IS_BETTER = {"psnr": True, "flicker": False, "join_flicker": False}


@dataclass(frozen=True)
class Decoded:
    """What to measure.

    Attributes:
        checkpoint: of a video decoder, whose averaged weights are used.
        out: folder for `result.json` and `decoded.gif`.
        data: folder of videos; None for held-out worlds.
        clips: worlds.
        windows: places in each video of `data`.
        frames: of each clip; more than the decoder's own, so that there are joins.
        beside: another decoder's checkpoint to compare with, such as an image decoder that was
            trained on the same clips.
        size: (height, width) in pixels; None for the trained one.
        shown: clips in `decoded.gif`.
        seed: of the latents' noise and of degradations.
        device: `auto`, `cpu`, `cuda`, ...
    """

    checkpoint: Path
    out: Path
    data: Path | None = None
    clips: int = 64
    windows: int = 3
    frames: int = 16
    beside: Path | None = None
    size: tuple[int, int] | None = None
    shown: int = 4
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_whole("clips", self.clips, 2)
        check_whole("frames of a clip", self.frames, 2)


Decode = Callable[[Tensor], Tensor]
"""Latents `[B, F, C, h, w]` to uint8 pixels."""


def run(job: Decoded) -> dict[str, Any]:
    """Measure on clean latents and on degraded ones; write `decoded.gif`, then `result.json`.

    Raises:
        UserError: a checkpoint of something else.
        DataError: no video that can be used.
    """
    part = _part(job.checkpoint, job.device)
    decoders = _decoders(job, part)
    notes = Notes()
    clips = _clips(job, part, notes)
    measured: dict[str, Any] = {}
    sheet = None
    for kind in ("clean", "degraded"):
        values, shown = _measure(job, part, decoders, clips, kind == "degraded")
        measured[kind] = _summary([clip.source for clip in clips], values)
        sheet = shown
    result = {
        "checkpoint": job.checkpoint.name,
        "data": "worlds" if job.data is None else job.data.name,
        "frames": job.frames,
        "decoder": dataclasses.asdict(part.joins),
        "degradations": "bsrgan",
        "latents": measured,
        "notes": notes.sentences,
    }
    if sheet is not None:
        write_atomically(job.out / SHOWN, sheet)
    write_atomically(job.out / RESULT, to_json(result))
    return result


def _part(checkpoint: Path, device: str) -> VideoDecoder:
    part = load_part(checkpoint, device=choose_device(device))
    if not isinstance(part, VideoDecoder):
        raise UserError(
            f"'{checkpoint}' holds the part {part.part!r}, not decoder: give a checkpoint of a "
            "video decoder."
        )
    return part


def _decoders(job: Decoded, part: VideoDecoder) -> dict[str, Decode]:
    joined = part.video_autoencoder()
    joined.joins = dataclasses.replace(part.joins, context=0)
    found: dict[str, Decode] = {
        IMAGE: part.autoencoder.decode_clip,
        OURS: part.video_autoencoder().decode_clip,
        JOINED: joined.decode_clip,
    }
    if job.beside is not None:
        found[BESIDE] = _part(job.beside, job.device).video_autoencoder().decode_clip
    return found


def _clips(job: Decoded, part: VideoDecoder, notes: Notes) -> list[Clip]:
    size = job.size or part.origin.size
    if size is None:
        raise UserError("The checkpoint does not say its size: give --size.")
    if job.data is None:
        return list(worlds(job.clips, job.frames, square(size)))
    found = list(videos(job.data, job.frames, job.windows, size, notes))
    return required([clip for clip in found if len(clip.frames) > 1], job.data)


Values = dict[str, dict[str, list[float]]]


def _measure(
    job: Decoded,
    part: VideoDecoder,
    decoders: dict[str, Decode],
    clips: Sequence[Clip],
    degraded: bool,
) -> tuple[Values, bytes]:
    """Metric -> decoder -> one value per clip, and pictures of the first clips."""
    device = next(part.parameters()).device
    values: Values = {metric: {name: [] for name in decoders} for metric in HIGHER_IS_BETTER}
    rows: dict[str, list[Tensor]] = {"truth": [], "encoded": [], **{n: [] for n in decoders}}
    progress = Progress(len(clips), "clip")
    for index, clip in enumerate(clips):
        generators = generators_for(job.seed, [f"decoder:{clip.source}:{index}"])
        truth = clip.frames[None].to(device)
        seen = degrade_clips(truth, generators) if degraded else truth
        latents = part.autoencoder.encode_clips(seen, generators)
        made = {name: decode(latents) for name, decode in decoders.items()}
        for name, frames in made.items():
            measures = measure(frames[0], truth[0], part.joins.clip_frames)
            for metric, value in measures.items():
                values[metric][name].append(value)
        if index < job.shown:
            for name, frames in {"truth": truth, "encoded": seen, **made}.items():
                rows[name].append(frames[0].cpu())
        progress(1)
    progress.finish()
    return values, _sheet(rows, job.seed)


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


def _summary(sources: list[str], values: Values) -> dict[str, Any]:
    """Means over videos, and the video decoder against each other one."""
    if np.isnan([*values["join_flicker"].values()]).any():  # clips without a join
        values = {m: v for m, v in values.items() if m != "join_flicker"}
    of = {m: {n: by_source(sources, v) for n, v in them.items()} for m, them in values.items()}
    return {
        "videos": len(set(sources)),
        "decoders": {
            name: {metric: float(np.mean([*of[metric][name].values()])) for metric in of}
            for name in of["psnr"]
        },
        "tests": {
            metric: [
                dataclasses.asdict(paired(them, OURS, other, HIGHER_IS_BETTER[metric]))
                for other in them
                if other != OURS
            ]
            for metric, them in of.items()
        },
    }


def _sheet(rows: dict[str, list[Tensor]], seed: int) -> bytes:
    """A row for each decoder, its clips next to each other."""
    length = min(len(clip) for clip in rows["truth"])
    beside = {
        name: torch.cat([clip[:length].permute(0, 2, 3, 1) for clip in clips], dim=2).numpy()
        for name, clips in rows.items()
    }
    return SideBySide(tuple(beside), tuple(beside.values()), seed).gif(length, labels=True)


def command(options: argparse.Namespace) -> int:
    """`decoder`: print the means and tests, and where they are."""
    job = Decoded(**{f.name: getattr(options, f.name) for f in dataclasses.fields(Decoded)})
    for kind, found in run(job)["latents"].items():
        print(f"{kind} latents, {found['videos']} videos")
        for name, means in found["decoders"].items():
            others = "".join(f"  {m} {v:6.3f}" for m, v in means.items() if m != "psnr")
            print(f"  {name:18} {means['psnr']:6.2f} dB{others}")
        for metric, tests in found["tests"].items():
            for test in tests:
                p = "-" if test["p"] is None else f"{test['p']:.2g}"
                print(
                    f"  {metric}: {test['method']} over {test['other']} {test['difference']:+.3f}, "
                    f"better in {100 * test['better']:.0f} % (p {p})"
                )
    print(job.out / RESULT)
    return 0
