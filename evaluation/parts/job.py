"""What the measurements of parts share: the job, its part and clips, and what the numbers say."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from evaluation.manifest import to_json
from evaluation.notes import Warn
from evaluation.parts.clips import Clip, videos, worlds
from evaluation.studies.pictures import SideBySide
from evaluation.studies.significance import paired_t
from lightning_artv.checkpoints.file import load_part
from lightning_artv.errors import DataError, UserError, check_whole
from lightning_artv.generation.command import choose_device
from lightning_artv.media.atomic import write_atomically
from lightning_artv.systems.base import Trainable

RESULT = "result.json"
Values = Mapping[str, Mapping[str, list[float]]]
"""Metric -> method -> one value per clip."""

JobT = TypeVar("JobT", bound="Job")
PartT = TypeVar("PartT", bound=Trainable)


@dataclass(frozen=True)
class Job:
    """What to measure.

    Attributes:
        checkpoint: checkpoint of the part, whose averaged weights are used.
        out: folder for `result.json` and a GIF.
        data: folder of videos; None for held-out worlds.
        clips: number of worlds.
        windows: places in each video of `data`.
        size: (height, width) in pixels; None for the trained one.
        shown: number of clips in the GIF.
        seed: seed of all noise.
        device: `auto`, `cpu`, `cuda`, ...
    """

    checkpoint: Path
    out: Path
    data: Path | None = None
    clips: int = 64
    windows: int = 3
    size: tuple[int, int] | None = None
    shown: int = 4
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_whole("clips", self.clips, 2)
        check_whole("windows", self.windows, 1)

    @classmethod
    def of(cls: type[JobT], options: argparse.Namespace, **given: Any) -> JobT:
        """The job of a command's options, some of them `given` in another form."""
        names = [field.name for field in dataclasses.fields(cls) if field.name not in given]
        return cls(**{name: getattr(options, name) for name in names}, **given)

    def part(self, kind: type[PartT], checkpoint: Path | None = None) -> PartT:
        """The part of this checkpoint, or of another one.

        Raises:
            UserError: a checkpoint of something else.
        """
        path = checkpoint or self.checkpoint
        part = load_part(path, device=choose_device(self.device))
        if not isinstance(part, kind):
            raise UserError(
                f"'{path}' holds the part {part.part!r}, not {kind.part}: give a checkpoint of "
                f"the part {kind.part}."
            )
        return part

    def read(self, part: Trainable, frames: int, least: int, warn: Warn) -> list[Clip]:
        """Clips of `frames` frames; those of short videos have fewer, but at least `least`.

        Raises:
            UserError: no size is known, or one that worlds have not.
            DataError: no video that can be used.
        """
        size = self.size or part.origin.size
        if size is None:
            raise UserError("The checkpoint does not say its size: give --size.")
        if self.data is None:
            if size[0] != size[1]:
                raise UserError(
                    f"Worlds are square, not {size[0]}x{size[1]}: set --size, or give --data."
                )
            return list(worlds(self.clips, frames, size[0]))
        found = videos(self.data, frames, self.windows, size, warn)
        if not (clips := [clip for clip in found if len(clip.frames) >= least]):
            raise DataError(f"No video of '{self.data}' can be used: give a folder of videos.")
        return clips

    def write(self, gif: tuple[str, bytes] | None, content: Mapping[str, Any]) -> dict[str, Any]:
        """Write the GIF (name, bytes) and then `result.json`, whose content is returned."""
        data = "worlds" if self.data is None else self.data.name
        result = {"checkpoint": self.checkpoint.name, "data": data, **content}
        if gif is not None:
            write_atomically(self.out / gif[0], gif[1])
        write_atomically(self.out / RESULT, to_json(result))
        return result


def side_by_side(rows: Mapping[str, Sequence[Tensor]], seed: int) -> bytes:
    """A GIF with a row per name: its clips `[T, 3, H, W]` next to each other, as long as the
    shortest.
    """
    length = min(len(clip) for clips in rows.values() for clip in clips)
    sheets = [
        torch.cat([clip[:length].permute(0, 2, 3, 1) for clip in clips], dim=2).numpy()
        for clips in rows.values()
    ]
    return SideBySide(tuple(rows), tuple(sheets), seed).gif(length, labels=True)


def summary(
    sources: list[str],
    values: Values,
    against: Iterable[tuple[str, str]],
    higher_is_better: Mapping[str, bool],
    methods: str,
) -> dict[str, Any]:
    """Means over videos under the key `methods`, and paired tests of methods (one, other)."""
    of = {
        metric: {name: by_source(sources, them) for name, them in found.items()}
        for metric, found in values.items()
    }
    names, pairs = list(next(iter(of.values()))), list(against)
    return {
        "videos": len(set(sources)),
        "clips": len(sources),
        methods: {
            name: {metric: float(np.mean([*of[metric][name].values()])) for metric in of}
            for name in names
        },
        "tests": {
            metric: [
                dataclasses.asdict(paired(them, one, other, higher_is_better[metric]))
                for one, other in pairs
            ]
            for metric, them in of.items()
        },
    }


@dataclass(frozen=True)
class Paired:
    """A comparison of two methods on the same videos.

    Attributes:
        method, other: names.
        difference: mean of method's value less the other's.
        better: share of the videos on which `method` is better.
        p: p value of a two-sided paired t test; None below two videos.
    """

    method: str
    other: str
    difference: float
    better: float
    p: float | None


def by_source(sources: list[str], values: list[float]) -> dict[str, float]:
    """One mean per video, of the values of its clips."""
    found: dict[str, list[float]] = {}
    for source, value in zip(sources, values, strict=True):
        found.setdefault(source, []).append(value)
    return {source: float(np.mean(them)) for source, them in found.items()}


def paired(
    values: Mapping[str, Mapping[str, float]], method: str, other: str, higher_is_better: bool
) -> Paired:
    """Compare two methods of `values`, name -> video -> value."""
    differences = np.array([values[method][s] - values[other][s] for s in values[method]])
    sign = 1 if higher_is_better else -1
    return Paired(
        method,
        other,
        float(differences.mean()),
        float((sign * differences > 0).mean()),
        paired_t(differences),
    )


def sentence(test: Mapping[str, Any], digits: int, unit: str = "") -> str:
    """A test in words."""
    p = "-" if test["p"] is None else f"{test['p']:.2g}"
    return (
        f"{test['method']} over {test['other']}: {test['difference']:+.{digits}f}{unit}, better in "
        f"{100 * test['better']:.0f} % (p {p})"
    )
