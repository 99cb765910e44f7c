"""`python -m evaluation systems`: generate, measure, one row per system, and a page of all rows."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.manifest import to_json
from evaluation.shapes.benchmark import DATA_SEED, generate, square
from evaluation.systems import cost
from evaluation.systems.measures import ALONE, CLIP, SHORT, figures, scene_clip
from evaluation.systems.page import write_page
from lightning_artv.errors import UserError
from lightning_artv.files import parse_json
from lightning_artv.generation.made_by import path_digest
from lightning_artv.generation.videos import video_size
from lightning_artv.media.atomic import atomic_path, write_atomically, writing_to
from lightning_artv.options import named_value
from lightning_artv.pipelines.loading import load_system
from lightning_artv.synthetic.drawing import Image
from lightning_artv.synthetic.scenes import Scene, scene_at
from lightning_artv.systems.base import SamplingSettings, VideoModel
from lightning_artv.systems.settings import with_settings

TRUTH, STILL = "the truth", "the first frame, standing still"
SHOWN = 4

Videos = dict[str, list[Image] | None]
"""`given`: clips after a true first frame, the long ones first; `alone`: from captions alone."""


@dataclass(frozen=True)
class Entry:
    """A row.

    Attributes:
        name: what it is called.
        checkpoint: a checkpoint or an exported folder.
        changes: settings of generation in the place of the checkpoint's.
    """

    name: str
    checkpoint: Path
    changes: Mapping[str, str]

    @classmethod
    def parse(cls, words: Sequence[str]) -> Entry:
        """Of the words of `--system`.

        Raises:
            UserError: no checkpoint, or a setting without a value.
        """
        if len(words) < 2:
            raise UserError(f"--system {words[0]}: give a name and a checkpoint.")
        try:
            changes = dict(map(named_value, words[2:]))
        except argparse.ArgumentTypeError as error:
            raise UserError(f"--system {words[0]}: a setting {error}.") from error
        return cls(words[0], Path(words[1]), changes)

    @property
    def file(self) -> str:
        """Name of its files, without a suffix."""
        return re.sub(r"\W+", "_", self.name)


@dataclass(frozen=True)
class Comparison:
    """What to compare, and on what.

    Attributes:
        entries: the rows.
        out: folder of rows, videos, page and tables.
        clips: held-out scenes.
        long_clips: so many of them, the first, are continued to `long_frames`.
        seed: seed of the noise.
    """

    entries: Sequence[Entry]
    out: Path
    clips: int = 64
    long_clips: int = 8
    long_frames: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        files = [entry.file for entry in self.entries]
        if len(set(files)) < len(files):
            raise UserError("Two systems have the same name: give each --system a name of its own.")
        if self.clips < 2 or not 1 <= self.long_clips <= self.clips or self.long_frames < ALONE:
            raise UserError(
                f"Compare at least 2 clips, 1 or more of them long, of {ALONE} frames or more: not "
                f"{self.clips}, {self.long_clips} and {self.long_frames}."
            )

    @property
    def lengths(self) -> list[int]:
        """Frames of each continued clip."""
        return [self.long_frames] * self.long_clips + [SHORT] * (self.clips - self.long_clips)


def run(job: Comparison) -> dict[str, dict[str, Any]]:
    """Make and measure what is not there yet; write the page and the tables; the rows, by name.

    Raises:
        UserError: a system that cannot be used, or systems of different sizes or frame rates.
    """
    side, stride = _common(job)
    scenes = [scene_at(i, DATA_SEED, "heldout", side, None) for i in range(job.clips)]
    true = [scene_clip(*pair, stride) for pair in zip(scenes, job.lengths, strict=True)]
    still = [np.repeat(clip[:1], len(clip), axis=0) for clip in true]
    imagined = [scene_clip(scene, ALONE, stride) for scene in scenes]
    rows = {
        TRUTH: {"figures": figures(true, imagined, scenes, stride, lambda n: starts_of([], n))},
        STILL: {"figures": figures(still, None, scenes, stride, lambda n: starts_of([], n))},
    }
    shown = {TRUTH: true[:SHOWN]}
    for entry in job.entries:
        rows[entry.name], videos = _row(job, entry, scenes, stride)
        if videos["given"] is not None:
            shown[entry.name] = videos["given"][:SHOWN]
    write_page(job.out, rows, shown)
    return rows


def starts_of(clips: Sequence[int], frames: int) -> list[int]:
    """Frames that clips begin with, in a video of `frames`: as observed in a shorter one, the last
    distance repeated; every `CLIP` frames where a system makes no clips.
    """
    later = [start for start in clips if start]
    if not later or (len(later) > 1 and later[-1] - later[-2] == 1):
        return list(range(0, frames, CLIP))
    pitch = later[-1] - later[-2] if len(later) > 1 else later[0]
    known = [0, *later[:-1], *range(later[-1], frames, pitch)]
    return [start for start in known if start < frames]


def _common(job: Comparison) -> tuple[int, int]:
    """Side of the pictures, and frames of a scene per frame of a video."""
    found = {}
    for entry in job.entries:
        system, settings = _loaded(entry)
        rate = system.frame_rate(settings) or cost.FPS
        found[entry.name] = (square(video_size(system, None)), rate)
    (side, rate), *others = dict.fromkeys(found.values())
    if others or not (cost.FPS / rate).is_integer():
        told = ", ".join(f"{name}: {s} pixels, {r:g} a second" for name, (s, r) in found.items())
        raise UserError(
            f"Systems are compared at one size and one frame rate that divides {cost.FPS:g}, "
            f"unlike these ({told})."
        )
    return side, int(cost.FPS / rate)


def _loaded(entry: Entry) -> tuple[VideoModel, SamplingSettings]:
    system = load_system(entry.checkpoint)
    return system, with_settings(system.sampling, entry.changes)


def _row(
    job: Comparison, entry: Entry, scenes: Sequence[Scene], stride: int
) -> tuple[dict[str, Any], Videos]:
    """A row and its videos, read where they are there and were made by the same."""
    system, settings = _loaded(entry)
    protocol = {
        **{name: getattr(job, name) for name in ("clips", "long_clips", "long_frames", "seed")},
        "stride": stride,
        "checkpoint": path_digest(entry.checkpoint, "checkpoint"),
        "sampling": dataclasses.asdict(settings),
    }
    path = job.out / f"{entry.file}.json"
    row = parse_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
    videos_path = job.out / f"{entry.file}.npz"
    if row.get("protocol") != parse_json(to_json(protocol).decode()) or not videos_path.is_file():
        row = {"name": entry.name, "protocol": protocol}
        videos, row["refused"] = _made(job, system, settings, scenes)
        row["cost"] = cost.of_a_frame(entry.checkpoint, entry.changes)
        row["training"] = cost.of_the_training(entry.checkpoint)
        _save(videos_path, videos)
        write_atomically(path, to_json(row))
    videos, clips = _read(videos_path, job), row["cost"]["clips"]
    measured = figures(
        videos["given"], videos["alone"], scenes, stride, lambda n: starts_of(clips, n)
    )
    row |= {"figures": measured}
    write_atomically(path, to_json(row))
    return row, videos


def _made(
    job: Comparison, system: VideoModel, settings: SamplingSettings, scenes: Sequence[Scene]
) -> tuple[Videos, dict[str, str]]:
    """Videos, and why some of them cannot be made.

    Raises:
        UserError: none can.
    """
    videos: Videos = {}
    refused: dict[str, str] = {}
    for kind, lengths in {"given": job.lengths, "alone": [ALONE] * job.clips}.items():
        try:
            is_given = kind == "given"
            videos[kind] = generate(system, scenes, lengths, settings, job.seed, given=is_given)
        except UserError as error:  # a request that this system cannot serve
            videos[kind], refused[kind] = None, str(error)
    if len(refused) == 2:
        raise UserError(refused["given"])
    return videos, refused


def _save(path: Path, videos: Videos) -> None:
    arrays = {
        f"{kind}:{i}": clip for kind, clips in videos.items() for i, clip in enumerate(clips or ())
    }
    with atomic_path(path) as temporary, writing_to(path), temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _read(path: Path, job: Comparison) -> Videos:
    with np.load(path, allow_pickle=False) as arrays:
        return {
            kind: [arrays[f"{kind}:{i}"] for i in range(job.clips)]
            if f"{kind}:0" in arrays
            else None
            for kind in ("given", "alone")
        }


def command(options: argparse.Namespace) -> int:
    """`systems`: say where the page is."""
    entries = [Entry.parse(words) for words in options.entries]
    names = ("out", "clips", "long_clips", "long_frames", "seed")
    run(Comparison(entries, **{name: getattr(options, name) for name in names}))
    print(options.out / "index.html", options.out / "tables.md")
    return 0
