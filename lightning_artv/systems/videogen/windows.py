"""Which frames train temporal super-resolution: two ends and their middle (Sec. 3.5); pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_artv.data.windows import Window, Windows
from lightning_artv.errors import UserError, check_whole


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
