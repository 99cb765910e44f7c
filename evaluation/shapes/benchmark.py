"""Continue held-out worlds from their first frame and caption, and compare with the truth.

The same clips with the same noise in every run, so that two models differ in themselves alone and
their numbers a clip can be paired.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.manifest import to_json
from evaluation.shapes.classifier import Classifier, load_classifier
from evaluation.shapes.distances import distances, real_reference
from evaluation.shapes.metrics_table import FAR_FRAME, FAR_FVD, FLAT, FVD_CURVE, STILL
from evaluation.shapes.summary import ClipRecord, record, summarise
from evaluation.statistics import Reference
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError
from lightning_artv.generation.command import choose_device
from lightning_artv.generation.videos import video_size
from lightning_artv.media.atomic import atomic_path, write_atomically, writing_to
from lightning_artv.pipelines.loading import load_system, trained_steps
from lightning_artv.progress import Progress
from lightning_artv.synthetic.drawing import Image
from lightning_artv.synthetic.measures import WINDOW
from lightning_artv.synthetic.torus import Torus
from lightning_artv.synthetic.worlds import World, world_at
from lightning_artv.systems.base import Recorder, SamplingSettings, Segment, VideoModel
from lightning_artv.systems.settings import with_settings

RESULT, SAMPLES = "result.json", "samples.npz"
DATA_SEED = 1
SHOWN = 4


@dataclass(frozen=True)
class Benchmark:
    """What to measure, and how.

    Attributes:
        checkpoint: checkpoint of the model, whose averaged weights are used, or an exported folder.
        classifier: a file of `train_classifier`.
        out: folder for `result.json` and `samples.npz`.
        clips: held-out worlds of 16 frames.
        long_clips: the first so many of them are continued to `long_frames`, a multiple of 16.
        settings: dotted name of a setting of generation -> value in the place of the checkpoint's.
        seed: seed of the noise.
        device: `auto`, `cpu`, `cuda`, ...
    """

    checkpoint: Path
    classifier: Path
    out: Path
    clips: int = 64
    long_clips: int = 24
    long_frames: int = 128
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.clips < 2:
            raise UserError(f"A Fréchet distance needs at least 2 clips, got {self.clips}.")
        if not 0 <= self.long_clips <= self.clips:
            raise UserError(
                f"Long clips are among the {self.clips} clips: choose 0 to {self.clips}, not "
                f"{self.long_clips}."
            )
        if self.long_frames <= WINDOW or self.long_frames % WINDOW:
            raise UserError(
                f"Long clips have a multiple of {WINDOW} frames above {WINDOW}, not "
                f"{self.long_frames}."
            )

    @property
    def lengths(self) -> list[int]:
        """Frames of each clip."""
        short = self.clips - self.long_clips
        return [self.long_frames] * self.long_clips + [WINDOW] * short


def run(job: Benchmark) -> dict[str, Any]:
    """Measure a checkpoint; write `samples.npz` and then, as the sign of being done, `result.json`.

    A result that is there already is removed at the start.

    Returns:
        the content of `result.json`; docs/evaluation.md describes it.

    Raises:
        UserError: no such checkpoint, settings that its system refuses, another size than the
            classifier's, or a place that cannot be written.
        MissingWeightsError, CorruptWeightsError: of the classifier, or the checkpoint's networks.
    """
    (job.out / RESULT).unlink(missing_ok=True)
    device = choose_device(job.device)
    system = load_system(job.checkpoint, device=device)
    classifier = load_classifier(job.classifier, device)
    size = square(video_size(system, None))
    classifier.check_size(size)
    settings = with_settings(system.sampling, job.settings)
    worlds = [world_at(i, DATA_SEED, "heldout", size) for i in range(job.clips)]
    recorder = system.recorder()
    began = time.monotonic()
    made = generate(system, worlds, job.lengths, settings, job.seed, recorder)
    generated = time.monotonic()
    truth = [world.video(length) for world, length in zip(worlds, job.lengths, strict=True)]
    numbers = _measure(made, truth, worlds, classifier, job.classifier)
    seconds = {"generation": generated - began, "measuring": time.monotonic() - generated}
    result = {
        "protocol": _protocol(job, settings, classifier, size),
        "checkpoint": {
            "file": job.checkpoint.name,
            "step": trained_steps(job.checkpoint),
        },
        **numbers,
        **({} if recorder is None else recorder.numbers()),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }
    shown = {} if recorder is None else recorder.arrays(size)
    _save_samples(job.out / SAMPLES, made, truth, worlds, shown)
    write_atomically(job.out / RESULT, to_json(result))
    return result


def generate(
    system: VideoModel,
    worlds: Sequence[Torus],
    lengths: Sequence[int],
    settings: SamplingSettings,
    seed: int,
    recorder: Recorder | None = None,
    given: bool = True,
) -> list[Image]:
    """Clips uint8 `[T, H, W, 3]`, one batch a length, that begin with each world's frame 0 or, if
    that is not `given`, are made from its caption alone.

    A clip's noise depends on `seed` and the world's number alone.

    Raises:
        UserError: settings that the system refuses.
    """
    progress = Progress(sum(lengths))
    made: dict[int, Image] = {}
    for length in sorted(set(lengths), reverse=True):
        rows = [i for i, wanted in enumerate(lengths) if wanted == length]
        first = np.stack([worlds[i].render(0) for i in rows])
        frames = []
        for frame in system.generate(
            [Segment(tuple(worlds[i].caption() for i in rows), length)],
            generators_for(seed, [f"world:{i}" for i in rows]),
            (worlds[0].size, worlds[0].size),
            torch.from_numpy(first).permute(0, 3, 1, 2) if given else None,
            settings,
            recorder,
        ):
            frames.append(frame.permute(0, 2, 3, 1).cpu().numpy())
            progress(len(rows))
        made |= zip(rows, np.stack(frames, axis=1), strict=True)
    progress.finish()
    return [made[i] for i in range(len(worlds))]


def _measure(
    made: Sequence[Image],
    truth: Sequence[Image],
    worlds: Sequence[World],
    classifier: Classifier,
    beside: Path,
) -> dict[str, Any]:
    """`metrics`, `per_clip`, `curves`, and what the true videos and `baselines` reach of them."""
    true = _records(truth, worlds)
    real = real_reference(classifier, beside)

    def measured(clips: Sequence[Image], records: Sequence[ClipRecord]) -> dict[str, Any]:
        summary = summarise(records, true, worlds)
        seen: dict[str, float | None] = dict(distances(_videos(clips), classifier, real))
        by_window = _fvd_by_window(clips, classifier, real)
        last = (FAR_FRAME + 1) // WINDOW - 1
        seen[FAR_FVD] = by_window[last] if len(by_window) > last else None
        curves = {**summary.curves, FVD_CURVE: by_window}
        return {
            "metrics": {**summary.metrics, **seen},
            "per_clip": summary.per_clip,
            "curves": curves,
        }

    def reached(clips: Sequence[Image], records: Sequence[ClipRecord]) -> dict[str, Any]:
        return {k: v for k, v in measured(clips, records).items() if k != "per_clip"}

    without = baselines(truth)
    return {
        **measured(made, _records(made, worlds)),
        "truth": reached(truth, true),
        "baselines": {name: reached(c, _records(c, worlds)) for name, c in without.items()},
    }


def baselines(truth: Sequence[Image]) -> dict[str, list[Image]]:
    """Clips that take no model, from the true ones' first frames: a still, and its mean colour.

    A model whose numbers they reach has not shown that it moves anything, or keeps anything.
    """
    stills = [np.repeat(clip[:1], len(clip), axis=0) for clip in truth]
    flat = [still.copy() for still in stills]
    for clip in flat:
        clip[1:] = np.rint(clip[0].mean(axis=(0, 1)))
    return {STILL: stills, FLAT: flat}


def _records(clips: Sequence[Image], worlds: Sequence[World]) -> list[ClipRecord]:
    return [record(clip, world) for clip, world in zip(clips, worlds, strict=True)]


def _videos(clips: Sequence[Image], end: int = WINDOW) -> torch.Tensor:
    """The 16 frames before frame `end` of all, uint8 `[N, 16, 3, H, W]`."""
    stacked = np.stack([clip[end - WINDOW : end] for clip in clips])
    return torch.from_numpy(stacked).permute(0, 1, 4, 2, 3)


def _fvd_by_window(clips: Sequence[Image], classifier: Classifier, real: Reference) -> list[float]:
    """shapes-FVD of each window of the longest clips; empty for fewer than two of several."""
    longest = max(map(len, clips))
    long = [clip for clip in clips if len(clip) == longest]
    if len(long) < 2 or longest == WINDOW:
        return []
    ends = range(WINDOW, longest + 1, WINDOW)
    return [distances(_videos(long, end), classifier, real)["FVD"] for end in ends]


def _protocol(
    job: Benchmark, settings: SamplingSettings, classifier: Classifier, size: int
) -> dict[str, Any]:
    return {
        "clips": job.clips,
        "frames": WINDOW,
        "long_clips": job.long_clips,
        "long_frames": job.long_frames,
        "size": size,
        "data_seed": DATA_SEED,
        "noise_seed": job.seed,
        "sampling": dataclasses.asdict(settings),
        "classifier": {"sha256": classifier.sha256, "accuracy": dict(classifier.accuracy)},
    }


def _save_samples(
    path: Path,
    made: Sequence[Image],
    truth: Sequence[Image],
    worlds: Sequence[World],
    shown: Mapping[str, Image],
) -> None:
    """The first clips of the longest ones, and `shown`."""
    count = min(SHOWN, sum(len(clip) == len(made[0]) for clip in made))
    arrays = {
        "generated": np.stack(made[:count]),
        "truth": np.stack(truth[:count]),
        "keys": np.array([f"heldout:{DATA_SEED}:{i}" for i in range(count)]),
        "captions": np.array([world.caption() for world in worlds[:count]]),
        **shown,
    }
    with atomic_path(path) as temporary, writing_to(path), temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def square(size: tuple[int, int]) -> int:
    """The side of square videos.

    Raises:
        UserError: others.
    """
    if size[0] != size[1]:
        raise UserError(
            f"Worlds are square, and the checkpoint makes {size[0]}x{size[1]}: give one that was "
            "trained on worlds."
        )
    return size[0]
