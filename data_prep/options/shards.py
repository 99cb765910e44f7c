"""The options of the steps that write shards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from data_prep.options.arguments import Argument
from lightning_artv.errors import UserError

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower")

MOST_SAMPLES = 100_000
"""In a shard."""


@dataclass(frozen=True)
class Limits:
    """What larger videos are reduced to.

    Attributes:
        size: pixels of the short side, at most.
        fps: frames per second that faster videos are thinned out to; by default all are kept.
        gop: frames from a keyframe to the next, at most: the nearer, the faster a window decodes.
        crf: x264's rate factor, 0 (lossless) to 51; 18 is hardly told from the source.
        preset: x264's name for how much time it takes to save bytes.
    """

    size: int | None = None
    fps: float | None = None
    gop: int | None = None
    crf: int = 18
    preset: str = "veryfast"

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 16:
            raise UserError(f"--size must be at least 16 pixels, got {self.size}.")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise UserError(f"--fps must be positive, got {self.fps:g}.")
        if self.gop is not None and self.gop < 1:
            raise UserError(f"--gop must be at least 1 frame, got {self.gop}.")
        if not 0 <= self.crf <= 51:
            raise UserError(f"--crf must be 0 to 51, got {self.crf}.")
        if self.preset not in PRESETS:
            raise UserError(f"--preset is one of {', '.join(PRESETS)}, not {self.preset}.")


@dataclass(frozen=True)
class Packing:
    """How full shards are.

    Attributes:
        samples: samples per shard.
        megabytes: 10^6 bytes of videos after which a shard is full, instead of `samples`.
    """

    samples: Annotated[int, Argument(group="full")] = 1000
    megabytes: Annotated[float | None, Argument(group="full")] = None

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise UserError(f"A shard holds 1 to {MOST_SAMPLES} samples, got {self.samples}.")
        if self.megabytes is not None and not self.megabytes > 0:
            raise UserError(f"--megabytes must be positive, got {self.megabytes:g}.")


@dataclass(frozen=True)
class ShardOptions(Limits, Packing):
    """What shards hold.

    Attributes:
        cut: make a clip of each scene instead of one of the whole video.
        min_seconds: seconds that a scene has to last.
    """

    size: int | None = 320
    gop: int = 24
    preset: str = "medium"
    cut: bool = False
    min_seconds: float = 1.0

    def __post_init__(self) -> None:
        Limits.__post_init__(self)
        Packing.__post_init__(self)
        if not self.min_seconds >= 0:
            raise UserError(f"--min-seconds must not be negative, got {self.min_seconds:g}.")


@dataclass(frozen=True)
class FolderOptions:
    """What the shards of a folder hold.

    Attributes:
        size: pixels of the short side, at most; larger videos are encoded again.
        fps: frames per second, at most; faster videos are encoded again.
        skip_missing: go on without missing files.
        allow_empty_captions: train videos without a caption as ones without text.
        shard_size: videos per shard.
    """

    size: int | None = None
    fps: float | None = None
    skip_missing: bool = False
    allow_empty_captions: bool = False
    shard_size: int = 1000


@dataclass(frozen=True)
class ShapesOptions:
    """What the videos show.

    Attributes:
        count: number of videos.
        seed: seed of all of them.
        split: set that they belong to; no video is in both.
        size: height and width in pixels.
        frames: frames per video.
        scenes: plain: one shape that stays inside the picture; torus: plain, but what leaves comes
            in at the opposite side; worlds: a torus with textures, obstacles and camera pans.
        color: of every shape of plain and torus scenes, such as orange, which no other has; by
            default one of six.
        fps: frames per second.
        shard_size: videos per shard.
    """

    count: int
    seed: int = 0
    split: Literal["train", "heldout"] = "train"
    size: int = 32
    frames: int = 16
    scenes: Literal["plain", "torus", "worlds"] = "plain"
    color: str | None = None
    fps: float = 8.0
    shard_size: int = 500

    def __post_init__(self) -> None:
        if self.color is not None and self.scenes == "worlds":
            raise UserError("color is of plain and torus scenes: leave it out for worlds.")
        if self.count < 1 or self.frames < 2 or self.fps <= 0:
            raise UserError(
                "Give at least 1 video, 2 frames and a positive fps, got "
                f"{self.count}, {self.frames}, {self.fps:g}."
            )
