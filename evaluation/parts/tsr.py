"""`python -m evaluation tsr`: middle frames that were held out, made again in several ways."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.notes import Notes
from evaluation.parts.clips import Clip
from evaluation.parts.job import RESULT, Job, Values, sentence, side_by_side, summary
from evaluation.parts.middle import methods_for
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import check_whole
from lightning_artv.progress import Progress
from lightning_artv.systems.settings import with_settings
from lightning_artv.systems.videogen.tsr import TemporalSuperResolution

SHOWN = "middle.gif"
UNTRAINED, TRAINED = ("repeated", "linear", "slerp", "DIS"), ("warped", "refined")
HIGHER_IS_BETTER = {"psnr": True, "latent_error": False}
SHOWN_PASSES = 2


@dataclass(frozen=True)
class Interpolated(Job):
    """What to measure of temporal super-resolution.

    Attributes:
        gaps: frames between the middle and either end.
        settings: name of a setting of the refiner -> value in the place of the checkpoint's.
    """

    gaps: tuple[int, ...] = (1, 2, 4, 8)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for gap in self.gaps:
            check_whole("a gap", gap, 1)


def run(job: Interpolated) -> dict[str, Any]:
    """Measure; write `middle.gif` and then `result.json`, whose content is returned.

    Raises:
        UserError: a checkpoint of something else, or settings that it has not.
        DataError: no video that can be used.
    """
    system, notes = job.part(TemporalSuperResolution), Notes()
    system.sampling = with_settings(system.sampling, job.settings)
    clips = job.read(system, 2 * max(job.gaps) + 1, 1, notes)
    gaps = {str(gap): _measure(job, system, clips, gap) for gap in sorted(set(job.gaps))}
    result = {
        "sampling": dataclasses.asdict(system.sampling),
        "size": list(clips[0].frames.shape[-2:]),
        "gaps": {gap: found for gap, found in gaps.items() if found},
        "notes": notes.sentences,
    }
    gif = _shown(job, system, clips)
    return job.write(None if gif is None else (SHOWN, gif), result)


# Middle frames


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
    made = {name: make(system, ends, first, last) for name, make in methods_for(frames).items()}
    if system.refiner is not None and system.sampling.steps:
        generators = generators_for(job.seed, [f"tsr:{gap}:{clip.source}:{index}"])
        pair = torch.cat([first, last])[None]
        made["refined"] = system.slow_down(pair, generators)[:, 1]
    made["encoded"] = true
    return made, true, frames[1:2]


def _centre(clip: Clip) -> int:
    return (len(clip.frames) - 1) // 2


def psnr(picture: Tensor, truth: Tensor) -> float:
    """Of uint8 pictures, dB, at most 100."""
    error = F.mse_loss(picture.float(), truth.float())
    return float(10 * torch.log10(255**2 / error.clamp_min(255**2 / 1e10)))


def _summary(sources: list[str], values: Values) -> dict[str, Any]:
    """Means over videos, and each trained method against each without training."""
    ours = [name for name in TRAINED if name in values["psnr"]]
    against = [(one, other) for one in ours for other in UNTRAINED if other in values["psnr"]]
    against += [("refined", "warped")] if len(ours) == 2 else []
    return summary(sources, values, against, HIGHER_IS_BETTER, "methods")


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
    return side_by_side({name: list(row) for name, row in rows.items()}, job.seed)


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
    job = Interpolated.of(options, gaps=tuple(options.gaps), settings=dict(options.changes))
    for gap, found in run(job)["gaps"].items():
        print(f"gap {gap}: {found['videos']} videos, {found['clips']} clips")
        for name, means in found["methods"].items():
            print(f"  {name:9} {means['psnr']:6.2f} dB  {means['latent_error']:.4f} of variance")
        for test in found["tests"]["psnr"]:
            print(f"  {sentence(test, 2, ' dB')}")
    print(job.out / RESULT)
    return 0
