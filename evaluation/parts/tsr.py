"""`python -m evaluation tsr`: middle frames that were held out, made again in several ways."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
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
from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.networks.flow import Motion, resize_flow
from lightning_artv.progress import Progress
from lightning_artv.systems.settings import with_settings
from lightning_artv.systems.videogen.interpolation import slerp
from lightning_artv.systems.videogen.tsr import TemporalSuperResolution

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
RESULT, SHOWN = "result.json", "middle.gif"
BASELINES = ("repeated", "linear", "slerp")
SHOWN_PASSES = 2
DIS_LEAST = 32


@dataclass(frozen=True)
class Interpolated:
    """What to measure.

    Attributes:
        checkpoint: of temporal super-resolution, whose averaged weights are used.
        out: folder for `result.json` and `middle.gif`.
        data: folder of videos; None for held-out worlds.
        gaps: frames between the middle and either end.
        clips: worlds.
        windows: places in each video of `data`.
        size: (height, width) in pixels; None for the trained one.
        settings: name of a setting of the refiner -> value in the place of the checkpoint's.
        shown: clips in `middle.gif`.
        seed: of the noise.
        device: `auto`, `cpu`, `cuda`, ...
    """

    checkpoint: Path
    out: Path
    data: Path | None = None
    gaps: tuple[int, ...] = (1, 2, 4, 8)
    clips: int = 64
    windows: int = 3
    size: tuple[int, int] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    shown: int = 4
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_whole("clips", self.clips, 2)
        check_whole("windows", self.windows, 1)
        for gap in self.gaps:
            check_whole("a gap", gap, 1)


def run(job: Interpolated) -> dict[str, Any]:
    """Measure; write `middle.gif` and then `result.json`, whose content is returned.

    Raises:
        UserError: a checkpoint of something else, or settings that it has not.
        DataError: no video that can be used.
    """
    system = _system(job)
    notes = Notes()
    clips = _clips(job, system, notes)
    gaps = {str(gap): _measure(job, system, clips, gap) for gap in sorted(set(job.gaps))}
    result = {
        "checkpoint": job.checkpoint.name,
        "data": "worlds" if job.data is None else job.data.name,
        "sampling": dataclasses.asdict(system.sampling),
        "size": list(clips[0].frames.shape[-2:]),
        "gaps": {gap: found for gap, found in gaps.items() if found},
        "notes": notes.sentences,
    }
    if (shown := _shown(job, system, clips)) is not None:
        write_atomically(job.out / SHOWN, shown)
    write_atomically(job.out / RESULT, to_json(result))
    return result


def _system(job: Interpolated) -> TemporalSuperResolution:
    system = load_part(job.checkpoint, device=choose_device(job.device))
    if not isinstance(system, TemporalSuperResolution):
        raise UserError(
            f"'{job.checkpoint}' holds the part {system.part!r}, not tsr: give a checkpoint of "
            "temporal super-resolution."
        )
    system.sampling = with_settings(system.sampling, job.settings)
    return system


def _clips(job: Interpolated, system: TemporalSuperResolution, notes: Notes) -> list[Clip]:
    size, frames = job.size or system.origin.size, 2 * max(job.gaps) + 1
    if size is None:
        raise UserError("The checkpoint does not say its size: give --size.")
    if job.data is None:
        return list(worlds(job.clips, frames, square(size)))
    return required(list(videos(job.data, frames, job.windows, size, notes)), job.data)


# Middle frames


Make = Callable[[TemporalSuperResolution, Tensor, Tensor, Tensor], Tensor]
"""`(part, ends in pixels [2, N, 3, H, W], first, last latents) -> latents of the middle`."""


def dis_motion(ends: Tensor, autoencoder: Autoencoder) -> Motion:
    """OpenCV's DIS flow between the ends, halved as if what moves moved straight, and a plain mean:
    what needs no training.

    Args:
        ends: uint8 `[2, N, 3, H, W]`.
        autoencoder: on whose grid the flow is wanted.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = ends.float().mean(dim=2).round().byte().cpu().numpy()

    def flow(starts: Image, ends: Image) -> Floats:
        calc: Any = dis.calc  # its types know no None
        return np.stack([calc(*pair, None) for pair in zip(starts, ends, strict=True)])

    there, back = flow(grey[0], grey[1]), flow(grey[1], grey[0])
    quarter = torch.from_numpy(there - back).permute(0, 3, 1, 2).to(ends.device) / 4
    to_last = resize_flow(quarter, 1 / autoencoder.grid[1])
    return Motion(-to_last, to_last, torch.full_like(to_last[:, :1], 0.5))


def _dis(part: TemporalSuperResolution, ends: Tensor, first: Tensor, last: Tensor) -> Tensor:
    one, other = part.autoencoder.to_grid(first), part.autoencoder.to_grid(last)
    motion = dis_motion(ends, part.autoencoder)
    return part.autoencoder.from_grid(motion.between(one, other))


METHODS: dict[str, Make] = {
    "repeated": lambda part, ends, first, last: first,
    "linear": lambda part, ends, first, last: (first + last) / 2,
    "slerp": lambda part, ends, first, last: slerp(first, last),
    "DIS": _dis,
    "warped": lambda part, ends, first, last: part.warped(first, last),
}


@torch.no_grad()
def _measure(
    job: Interpolated, system: TemporalSuperResolution, clips: Sequence[Clip], gap: int
) -> dict[str, Any] | None:
    """All methods at one gap; None where no clip is long enough."""
    fitting = [clip for clip in clips if _centre(clip) >= gap]
    if not fitting:
        return None
    values: dict[str, dict[str, list[float]]] = {"psnr": {}, "latent_error": {}}
    true_latents: list[Tensor] = []
    progress = Progress(len(fitting), "clip")
    for index, clip in enumerate(fitting):
        made, true, pixels = _middles(job, system, clip, gap, index)
        for name, latents in made.items():
            picture = system.autoencoder.decode(latents)
            values["psnr"].setdefault(name, []).append(psnr(picture, pixels))
            error = float((latents - true).square().mean())
            values["latent_error"].setdefault(name, []).append(error)
        true_latents.append(true)
        progress(1)
    progress.finish()
    variance = float(torch.cat(true_latents).var())
    values["latent_error"] = {
        name: [error / variance for error in errors]
        for name, errors in values["latent_error"].items()
    }
    return _summary([clip.source for clip in fitting], values)


def _middles(
    job: Interpolated, system: TemporalSuperResolution, clip: Clip, gap: int, index: int
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Method -> latents of the middle frame, its true latents, its pixels."""
    device, centre = next(system.parameters()).device, _centre(clip)
    frames = clip.frames[[centre - gap, centre, centre + gap]].to(device)
    first, true, last = system.autoencoder.encode(frames).split(1)
    ends = frames[::2, None]
    able = {n: make for n, make in METHODS.items() if n != "DIS" or _fits_dis(frames)}
    made = {name: make(system, ends, first, last) for name, make in able.items()}
    if system.refiner is not None and system.sampling.steps:
        generators = generators_for(job.seed, [f"tsr:{gap}:{clip.source}:{index}"])
        pair = torch.cat([first, last])[None]
        made["refined"] = system.slow_down(pair, generators)[:, 1]
    made["encoded"] = true
    return made, true, frames[1:2]


def _fits_dis(frames: Tensor) -> bool:
    return min(frames.shape[-2:]) >= DIS_LEAST


def _centre(clip: Clip) -> int:
    return (len(clip.frames) - 1) // 2


def psnr(picture: Tensor, truth: Tensor) -> float:
    """Of uint8 pictures, dB, at most 100."""
    error = F.mse_loss(picture.float(), truth.float())
    return float(10 * torch.log10(255**2 / error.clamp_min(255**2 / 1e10)))


def _summary(sources: list[str], values: Mapping[str, Mapping[str, list[float]]]) -> dict[str, Any]:
    """Means over videos, and each method of ours against each without training."""
    per_video = {
        metric: {name: by_source(sources, them) for name, them in methods.items()}
        for metric, methods in values.items()
    }
    ours = [name for name in ("warped", "refined") if name in per_video["psnr"]]
    others = [name for name in (*BASELINES, "DIS") if name in per_video["psnr"]]
    against = [(one, other) for one in ours for other in others]
    against += [("refined", "warped")] if len(ours) == 2 else []
    return {
        "videos": len(set(sources)),
        "clips": len(sources),
        "methods": {
            name: {m: float(np.mean([*per_video[m][name].values()])) for m in per_video}
            for name in per_video["psnr"]
        },
        "tests": {
            metric: [
                dataclasses.asdict(paired(of, one, other, metric == "psnr"))
                for one, other in against
            ]
            for metric, of in per_video.items()
        },
    }


# Pictures


@torch.no_grad()
def _shown(
    job: Interpolated, system: TemporalSuperResolution, clips: Sequence[Clip]
) -> bytes | None:
    """Of the first clips of different videos every 4th frame is kept and the others are made."""
    stride = 2**SHOWN_PASSES
    different = {clip.source: clip for clip in reversed(clips) if len(clip.frames) > stride}
    kept = list(reversed(different.values()))[: job.shown]
    if not kept:
        return None
    length = min(len(clip.frames) - 1 for clip in kept) // stride * stride + 1
    truth = torch.stack([clip.frames[:length] for clip in kept])
    rows = {"truth": truth, **_slowed(job, system, truth[:, ::stride])}
    beside = {name: torch.cat([*row.permute(0, 1, 3, 4, 2)], dim=2) for name, row in rows.items()}
    sheet = SideBySide(tuple(beside), tuple(row.numpy() for row in beside.values()), job.seed)
    return sheet.gif(length, labels=True)


def _slowed(job: Interpolated, system: TemporalSuperResolution, kept: Tensor) -> dict[str, Tensor]:
    """Method -> clips uint8 `[N, T, 3, H, W]` of the kept frames and those between."""
    device, autoencoder = next(system.parameters()).device, system.autoencoder
    count, stride = len(kept), 2**SHOWN_PASSES
    given = autoencoder.encode(kept.flatten(0, 1).to(device)).unflatten(0, kept.shape[:2])
    repeated = given[:, :-1].repeat_interleave(stride, dim=1)
    share = (torch.arange(repeated.shape[1], device=device) % stride / stride)[:, None, None, None]
    following = given[:, 1:].repeat_interleave(stride, dim=1)
    ours = given
    for step in range(SHOWN_PASSES):
        ours = system.slow_down(
            ours, generators_for(job.seed, [f"{step}:{i}" for i in range(count)])
        )
    made = {
        "repeated": torch.cat([repeated, given[:, -1:]], dim=1),
        "linear": torch.cat([(1 - share) * repeated + share * following, given[:, -1:]], dim=1),
        "ours": ours,
    }
    return {
        name: autoencoder.decode(latents.flatten(0, 1)).unflatten(0, latents.shape[:2]).cpu()
        for name, latents in made.items()
    }


def command(options: argparse.Namespace) -> int:
    """`tsr`: print the means and tests, and where they are."""
    names = [field.name for field in dataclasses.fields(Interpolated)]
    given: dict[str, Any] = {name: getattr(options, name, None) for name in names}
    given |= {"gaps": tuple(options.gaps), "settings": dict(options.changes)}
    job = Interpolated(**given)
    result = run(job)
    for gap, found in result["gaps"].items():
        print(f"gap {gap}: {found['videos']} videos, {found['clips']} clips")
        for name, means in found["methods"].items():
            print(f"  {name:9} {means['psnr']:6.2f} dB  {means['latent_error']:.4f} of variance")
        for test in found["tests"]["psnr"]:
            print(f"  {sentence(test)}")
    print(job.out / RESULT)
    return 0


def sentence(test: Mapping[str, Any]) -> str:
    """A test in words."""
    p = "-" if test["p"] is None else f"{test['p']:.2g}"
    return (
        f"{test['method']} over {test['other']}: {test['difference']:+.2f} dB, better in "
        f"{100 * test['better']:.0f} % (p {p})"
    )
