"""The options of every step: of its command, of a recipe and in what its output says made it.

Nothing heavy is imported here, so that `--help` and mistakes are answered at once.
"""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from data_prep.options.arguments import Argument
from data_prep.options.shards import FolderOptions, Limits, Packing, ShapesOptions, ShardOptions
from lightning_artv.errors import UserError

__all__ = [
    "AnalyseOptions",
    "ClipOptions",
    "EngineOptions",
    "FolderOptions",
    "Limits",
    "Packing",
    "SelectOptions",
    "ShapesOptions",
    "ShardOptions",
]

SourceKind = Literal["webvid", "openvid", "folder", "video2dataset", "ucf101", "msrvtt"]

Window = tuple[float | None, float | None]
"""(lowest, highest) that is kept, inclusive; None for no bound."""


def window(text: str) -> Window:
    """`1:20`, or with an end left out `:0.5`."""
    low, colon, high = text.partition(":")
    if not colon:
        raise ArgumentTypeError(f"a window is LOW:HIGH, either may be empty, not {text!r}")
    return (float(low) if low else None, float(high) if high else None)


def filter_of(text: str) -> tuple[str, Window]:
    """`watermark=:0.5`."""
    name, _, bounds = text.partition("=")
    if not name or not bounds:
        raise ArgumentTypeError(f"a filter is COLUMN=LOW:HIGH, not {text!r}")
    return name, window(bounds)


@dataclass(frozen=True)
class EngineOptions:
    """Who works.

    Attributes:
        kind: processes of this machine, or Ray Data (the extra `[ray]`).
        processes: number of videos in work at a time; by default one per CPU core.
        gpus: GPUs of each Ray actor; may be a fraction.
        timeout: seconds that one video may take before it is given up as failed.
    """

    kind: Annotated[Literal["local", "ray"], Argument(flag="--engine")] = "local"
    processes: int | None = None
    gpus: float = 0.0
    timeout: float = 600.0

    def __post_init__(self) -> None:
        if self.kind not in ("local", "ray"):
            raise UserError(f"The engine is local or ray, not {self.kind!r}.")
        if self.processes is not None and self.processes < 1:
            raise UserError(f"--processes must be at least 1, got {self.processes}.")
        if self.timeout <= 0 or self.gpus < 0:
            raise UserError(f"Give a positive timeout and no negative gpus, got {self}.")

    @property
    def workers(self) -> int:
        """How many work at a time."""
        return self.processes or len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class AnalyseOptions:
    """How videos are analysed.

    Attributes:
        step: frames from one that is scored to the next; all are decoded, and the motion score
            grows with the step.
        cut_threshold: content score from which on there is a cut (PySceneDetect's default).
    """

    step: int = 1
    cut_threshold: float = 27.0

    def __post_init__(self) -> None:
        if self.step < 1 or self.cut_threshold <= 0:
            raise UserError(
                f"The frame step must be at least 1 and the cut threshold positive, got "
                f"{self.step} and {self.cut_threshold:g}."
            )


@dataclass(frozen=True)
class ClipOptions:
    """How captions are scored.

    Attributes:
        pretrained: folder written by transformers, or hub id.
        revision: revision of the hub id.
        frames: frames per video, evenly spaced; shorter videos give all theirs.
        batch_size: frames per pass of the model.
        device: device such as cpu or cuda:0; by default the GPU where there is one.
    """

    pretrained: str = "openai/clip-vit-base-patch32"
    revision: str | None = None
    frames: int = 4
    batch_size: int = 64
    device: str | None = None

    def __post_init__(self) -> None:
        if self.frames < 1 or self.batch_size < 1:
            raise UserError(
                f"CLIP needs at least 1 frame a video and 1 a batch, got {self.frames} and "
                f"{self.batch_size}."
            )


@dataclass(frozen=True)
class SelectOptions:
    """What is kept.

    Attributes:
        motion: window of the motion score; by default the paper's. Either end may be empty.
        filters: window of another column, such as watermark=:0.5; a video without a value is not
            kept. May be repeated.
        distance: bits in which perceptual hashes of duplicates may differ; of duplicates the one
            with the highest CLIP score is kept.
        count: number of videos that are kept, the best by CLIP.
        share: share of what the steps before leave that is kept, in (0, 1], the best by CLIP.
        held_out: share of all keys, in [0, 1), that is held out; decided by a hash of the key
            alone, so that it never moves when data is added.
    """

    motion: Annotated[
        Window | None,
        Argument(off="--any-motion: keep any motion", parse=window, metavar="LOW:HIGH"),
    ] = (1.0, 20.0)
    filters: Annotated[
        Mapping[str, Window],
        Argument(flag="--filter", parse=filter_of, metavar="COLUMN=LOW:HIGH"),
    ] = field(default_factory=dict)
    distance: Annotated[int | None, Argument(off="--keep-duplicates: keep all of them")] = 6
    count: Annotated[int | None, Argument(group="best")] = None
    share: Annotated[float | None, Argument(group="best")] = None
    held_out: float = 0.0

    def __post_init__(self) -> None:
        if self.count is not None and self.share is not None:
            raise UserError("Give either count or share, not both.")
        if self.count is not None and self.count < 1:
            raise UserError(f"count must be at least 1, got {self.count}.")
        if self.share is not None and not 0 < self.share <= 1:
            raise UserError(f"share must be above 0 and at most 1, got {self.share}.")
        if not 0 <= self.held_out < 1:
            raise UserError(f"held_out must be at least 0 and below 1, got {self.held_out}.")
        for name, (low, high) in self.windows.items():
            if low is not None and high is not None and low > high:
                raise UserError(f"The window of {name} is empty: {low} to {high}.")

    @property
    def windows(self) -> dict[str, Window]:
        """Of all columns, motion first; to be ranked, a video needs a CLIP score at least."""
        first: dict[str, Window] = {} if self.motion is None else {"motion": self.motion}
        ranked: dict[str, Window] = {"clip_score": (None, None)} if self.ranks else {}
        return {**first, **ranked, **self.filters}

    @property
    def ranks(self) -> bool:
        """Whether only the best by CLIP are kept."""
        return self.count is not None or self.share is not None
