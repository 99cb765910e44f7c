"""Generate from held-out first frames and captions, and from captions alone, and measure both."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_artv.diffusion.noise import generators_for
from lightning_artv.media import grid, write_gif
from lightning_artv.pipelines.loading import load_system
from lightning_artv.progress import Progress
from lightning_artv.synthetic.drawing import PALETTE
from lightning_artv.synthetic.measures import ClipMeasures, measure_clip
from lightning_artv.synthetic.scenes import Scene, scene_at
from lightning_artv.synthetic.words import measure_from_caption
from lightning_artv.systems.base import SamplingSettings, Segment, VideoModel
from lightning_artv.systems.settings import with_settings

GENERATION_SEED, FPS, SHOWN, SCALE = 0, 8.0, 16, 3
SHIPPED_FRAMES = 32


def run(
    checkpoint: Path,
    out: Path,
    clips: int,
    seed: int,
    others: Mapping[str, Mapping[str, Any]] | None = None,
    painter: Path | None = None,
    length: int | None = None,
) -> dict[str, Any]:
    """Write `from_captions.gif`, and `samples.gif` of a system that continues a first frame, into
    `out`; return the figures of `metrics.json`.

    Args:
        checkpoint: of the trained system; its averaged weights are used.
        clips: number of held-out scenes.
        seed: of the held-out scenes.
        others: title -> other settings of generation; the n-th makes `other_n.gif`.
        painter: model that makes the first frames from captions; None: the system itself.
        length: frames of the videos from captions; None for as many as a scene has.
    """
    began = time.monotonic()
    system = load_system(checkpoint)
    scenes = [scene_at(i, seed, "heldout") for i in range(clips)]
    stride = round(FPS / (system.frame_rate(system.sampling) or FPS))
    truth = torch.from_numpy(np.stack([scene.video()[::stride] for scene in scenes]))
    captions = [scene.caption() for scene in scenes]
    first = None if painter is None else _painted(painter, captions)
    result: dict[str, Any] = {}
    if system.continues:
        made = _generate(system, captions, truth.shape[1], truth[:, 0].permute(0, 3, 1, 2))
        sheet = grid(made[:SHOWN], min(8, clips), truth[:SHOWN])
        write_gif(out / "samples.gif", sheet, FPS / stride, SCALE)
        result |= figures(made, truth, scenes, stride)
    frames = length or truth.shape[1]
    result |= _imagine(system, scenes, frames, first, out / "from_captions.gif", FPS / stride)
    result["sampling"] = dataclasses.asdict(system.sampling)
    result["others"] = {}
    for number, (title, changes) in enumerate((others or {}).items()):
        picture, settings = out / f"other_{number}.gif", with_settings(system.sampling, changes)
        other = _imagine(system, scenes, frames, first, picture, FPS / stride, settings)
        result["others"][title] = other
    return {
        **result,
        "captions_shown": captions[:SHOWN],
        "seeds": {"generation": GENERATION_SEED},
        "sizes": {
            "frames": truth.shape[1],
            "height": truth.shape[2],
            "width": truth.shape[3],
            "parameters": sum(p.numel() for p in system.parameters()),
        },
        "generation_seconds": round(time.monotonic() - began, 1),
    }


def _painted(painter: Path, captions: Sequence[str]) -> Tensor:
    """First frames of captions, uint8 `[N, 3, H, W]`."""
    return _generate(load_system(painter), captions, 1, None)[:, 0].permute(0, 3, 1, 2)


def _imagine(
    system: VideoModel,
    scenes: Sequence[Scene],
    frames: int,
    first: Tensor | None,
    picture: Path,
    fps: float,
    settings: SamplingSettings | None = None,
) -> dict[str, Any]:
    """What a system makes of captions alone; `by_chance`: measured against other captions."""
    made = _generate(system, [scene.caption() for scene in scenes], frames, first, settings)
    write_gif(picture, grid(made[:SHOWN], min(8, len(scenes))), fps, SCALE)
    turned = [*scenes[1:], scenes[0]]
    return {
        "from_caption": caption_figures(made, scenes),
        "by_chance": caption_figures(made, turned),
    }


def shipped(model: Path, out: Path, seed: int) -> dict[str, Any]:
    """Show what the model that comes with the project makes of captions alone: `shipped.gif`.

    Args:
        model: exported folder.
        out: where the pictures go.
        seed: seed of the scenes whose captions are taken.

    Returns:
        how often each word of the captions is right, and the captions.
    """
    system = load_system(model)
    scenes = [scene_at(i, seed, "heldout") for i in range(SHOWN)]
    made = _generate(system, [scene.caption() for scene in scenes], SHIPPED_FRAMES, None)
    write_gif(out / "shipped.gif", grid(made, 8), FPS, SCALE)
    return {
        **caption_figures(made[:, : scenes[0].frames], scenes),
        "captions": [scene.caption() for scene in scenes],
        "frames": SHIPPED_FRAMES,
    }


def word(model: Path, picture: Path, color: str, clips: int, seed: int) -> dict[str, Any]:
    """What a model makes of captions with a color that is new to it.

    Args:
        model: checkpoint or exported folder.
        picture: GIF of the first clips.
        color: one of `MORE_COLORS`.
        clips: number of captions.
        seed: seed of the scenes whose captions are taken.

    Returns:
        how often each word of the captions is right, and the first captions.
    """
    system = load_system(model)
    scenes = [scene_at(i, seed, "heldout", color=color) for i in range(clips)]
    captions = [scene.caption() for scene in scenes]
    made = _generate(system, captions, scenes[0].video().shape[0], None)
    write_gif(picture, grid(made[:SHOWN], min(8, clips)), FPS, SCALE)
    return {**caption_figures(made, scenes), "color": color, "captions": captions[:SHOWN]}


def figures(
    made: Tensor, truth: Tensor, scenes: Sequence[Scene], stride: int = 1
) -> dict[str, Any]:
    """Accuracies and curves of clips that begin with the true first frame, and of repeating that
    frame.

    Args:
        made, truth: uint8 `[N, T, H, W, 3]`; frame 0 is given and is left out of the curves.
        scenes: of which `truth` is.
        stride: how many frames of a scene pass from one to the next.
    """
    still = truth[:, :1].expand_as(truth)
    ours, copy = _measure(made, scenes, stride), _measure(still, scenes, stride)
    return {
        **_summary(ours, scenes),
        "psnr_copy": _curve([m.psnr for m in copy]),
        "baseline_repeat_first_frame": _summary(copy, scenes),
        "protocol": "means over clips of per-frame PSNR in dB; element 0 is the first generated "
        "frame (frame 1)",
    }


def caption_figures(made: Tensor, scenes: Sequence[Scene]) -> dict[str, float]:
    """How often a clip made from its caption alone shows the caption's words."""
    measures = [measure_from_caption(clip.numpy(), PALETTE) for clip in made]
    return {
        f"{word}_accuracy": _share(
            getattr(m, word) == getattr(scene, word)
            for m, scene in zip(measures, scenes, strict=True)
        )
        for word in ("direction", "color", "shape", "background")
    }


def _generate(
    system: VideoModel,
    captions: Sequence[str],
    frames: int,
    first_frame: Tensor | None,
    settings: SamplingSettings | None = None,
) -> Tensor:
    """Clips uint8 `[N, T, H, W, 3]`, with progress on stderr."""
    progress = Progress(len(captions) * frames)
    size = (32, 32) if first_frame is None else (first_frame.shape[-2], first_frame.shape[-1])
    made = []
    for frame in system.generate(
        [Segment(tuple(captions), frames)],
        generators_for(GENERATION_SEED, [f"demo:{i}" for i in range(len(captions))]),
        size,
        first_frame,
        settings,
    ):
        made.append(frame.permute(0, 2, 3, 1))
        progress(len(captions))
    progress.finish()
    return torch.stack(made, dim=1)


def _measure(clips: Tensor, scenes: Sequence[Scene], stride: int) -> list[ClipMeasures]:
    pairs = zip(clips, scenes, strict=True)
    return [measure_clip(clip.numpy(), scene, stride=stride) for clip, scene in pairs]


def _summary(measures: Sequence[ClipMeasures], scenes: Sequence[Scene]) -> dict[str, Any]:
    pairs = list(zip(measures, scenes, strict=True))
    return {
        "direction_accuracy": _share(m.direction == s.direction for m, s in pairs),
        "color_accuracy": _share(m.color == s.color for m, s in pairs),
        "psnr": _curve([m.psnr for m in measures]),
        "background_psnr": _curve([m.background_psnr for m in measures]),
    }


def _curve(rows: Sequence[Sequence[float]]) -> list[float]:
    """Means over clips by frame, without the given first frame."""
    return [round(float(v), 2) for v in np.mean(np.array(rows), axis=0)[1:]]


def _share(hits: Any) -> float:
    return round(float(np.mean(list(hits))), 4)
