"""Which frames make a training example: a clip of consecutive ones (paper Sec. 5.1); pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

from lightning_artv.data.windows import Window, Windows
from lightning_artv.errors import check_whole


@dataclass(frozen=True)
class ConsecutiveFrames(Windows):
    """Frames that follow each other on the clip's timeline (`data.fps`), from a random one on.

    Args:
        frames: N; `clip_frames` of the system.

    Raises:
        UserError: no number of frames.
    """

    frames: int = 8

    def __post_init__(self) -> None:
        check_whole("data.windows: the number of frames", self.frames, 1)

    @property
    def least(self) -> int:
        """All of them."""
        return self.frames

    def choose(self, count: int, rng: random.Random) -> Window:
        """`frames` indices in a row, one role each."""
        start = rng.randint(0, count - self.frames)
        return Window(tuple(range(start, start + self.frames)), (tuple(range(self.frames)),))
