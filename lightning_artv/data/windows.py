"""Which frames of a clip are read together, and what examples they make; pure, no I/O.

A system brings its own rule (`systems/*/windows.py`), or takes the one that is here, and alone
knows what the roles mean.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass

from lightning_artv.errors import check_whole


@dataclass(frozen=True)
class Window:
    """Frames of one clip and the `K` examples that share them.

    Attributes:
        frames: indices on the clip's timeline `[F]`, repetitions included.
        choice: positions in `frames` of each example's frames, one per role, `[K, R]`.
        spacing: ticks of the timeline between neighbouring frames, for rules that draw it.
    """

    frames: tuple[int, ...]
    choice: tuple[tuple[int, ...], ...]
    spacing: float = 1.0


class Windows(ABC):
    """Rule that chooses a window from a clip; `data.windows.class_path` names one.

    Attributes:
        targets: examples per window, K.
    """

    targets: int = 1

    @property
    @abstractmethod
    def least(self) -> int:
        """Frames that a clip must have."""

    @abstractmethod
    def choose(self, count: int, rng: random.Random) -> Window:
        """The window of a clip.

        Args:
            count: frames on the clip's timeline, at least `least`.
            rng: the only source of randomness.
        """

    def for_evaluation(self) -> Windows:
        """The rule of validation, test and prediction: one example per window."""
        return self


@dataclass(frozen=True)
class ConsecutiveFrames(Windows):
    """Frames that follow each other on the clip's timeline (`data.fps`), from a random one on.

    Args:
        frames: N; as many as the system's clips have.

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
