"""Which frames train VideoGen: clips at any rate; two ends and their middle; pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_artv.data.windows import Window, Windows
from lightning_artv.errors import UserError, check_number, check_whole


@dataclass(frozen=True)
class TripletWindow(Windows):
    """Frames i, i + g and i + 2g for a random i and a random g of those that the clip has room for.

    Args:
        gaps: the g, in frames of the clip's timeline; one for each pass that is wanted: 4, 2 and 1
            at 60 frames per second are 8 made to 60.

    Raises:
        UserError: no gap, or one below 1.
    """

    gaps: Sequence[int] = (1, 2, 4)

    def __post_init__(self) -> None:
        if not self.gaps:
            raise UserError("data.windows: gaps is empty: give the frames between, such as [1, 2].")
        for gap in self.gaps:
            check_whole("data.windows: a gap between frames", gap, 1)

    @property
    def least(self) -> int:
        """Frames that the smallest gap needs."""
        return 2 * min(self.gaps) + 1

    def choose(self, count: int, rng: random.Random) -> Window:
        """The first end, the middle, the last end."""
        gap = rng.choice([gap for gap in self.gaps if 2 * gap < count])
        start = rng.randint(0, count - 2 * gap - 1)
        return Window((start, start + gap, start + 2 * gap), ((0, 1, 2),))


@dataclass(frozen=True)
class SpacedFrames(Windows):
    """Evenly spaced frames of a clip, whose rate is drawn evenly between two (METHOD: f).

    Args:
        frames: T; as many as the system's clips have.
        closest: least ticks of the clip's timeline (`data.fps`) between neighbouring frames.
        farthest: most of them, as far as the clip has room; at `data.fps` 30, 15 is a rate of 2.

    Raises:
        UserError: numbers that are none.
    """

    frames: int = 16
    closest: float = 1.0
    farthest: float = 1.0

    def __post_init__(self) -> None:
        check_whole("data.windows: the number of frames", self.frames, 1)
        check_number("data.windows: closest", self.closest, 1)
        check_number("data.windows: farthest", self.farthest, self.closest)

    @property
    def least(self) -> int:
        """Ticks that the closest frames span."""
        return round((self.frames - 1) * self.closest) + 1

    def choose(self, count: int, rng: random.Random) -> Window:
        """`frames` indices, one role each, at a random rate from a random start."""
        gaps = max(1, self.frames - 1)
        farthest = max(self.closest, min(self.farthest, (count - 1) / gaps))
        spacing = 1 / rng.uniform(1 / farthest, 1 / self.closest)
        offsets = [round(index * spacing) for index in range(self.frames)]
        start = rng.randint(0, max(0, count - 1 - offsets[-1]))
        chosen = tuple(start + offset for offset in offsets)
        return Window(chosen, (tuple(range(self.frames)),), spacing)
