"""Clips with a known truth: held-out worlds, or a folder of anybody's videos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evaluation.finding import find_videos
from evaluation.notes import Warn
from lightning_artv.data.decode import DecodeError, Video
from lightning_artv.synthetic.worlds import world_at

DATA_SEED = 1


@dataclass(frozen=True)
class Clip:
    """Consecutive frames.

    Attributes:
        source: the video or world that they are of; clips of one count as one.
        frames: uint8 `[T, 3, H, W]`.
    """

    source: str
    frames: Tensor


def worlds(count: int, frames: int, size: int) -> Iterator[Clip]:
    """The first `frames` frames of held-out worlds, whose truth is exact."""
    for index in range(count):
        pictures = world_at(index, DATA_SEED, "heldout", size).video(frames)
        yield Clip(f"world {index}", torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous())


def videos(
    folder: Path, frames: int, windows: int, size: tuple[int, int], warn: Warn
) -> Iterator[Clip]:
    """Up to `frames` frames in a row at `windows` places of each video of a folder.

    A shorter video gives one clip of all its frames; one that cannot be read is named and left out.

    Raises:
        DataError: no video at all.
    """
    for video in find_videos(folder, warn):
        try:
            with Video(video.path) as source:
                count = len(source.timestamps)
                for start in _starts(count, frames, windows):
                    indices = range(start, min(start + frames, count))
                    yield Clip(video.path.name, source.frames(indices, size))
        except DecodeError as error:
            warn(f"'{video.path.name}' is left out: {error}.")


def _starts(count: int, frames: int, windows: int) -> list[int]:
    """Where the windows of a video begin, evenly spread, none twice."""
    spare = max(0, count - frames)
    return sorted(set(np.linspace(0, spare, windows + 2)[1:-1].astype(int).tolist()))
