"""Which frames make a training example (paper Sec. 3.1 and 3.4); pure, no I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from torch import Tensor

from lightning_artv.batch import VideoBatch
from lightning_artv.data.windows import Window, Windows
from lightning_artv.errors import UserError, check_whole

ROLES = 4
"""Target, frame i-1, frame i-2, anchor: the order of a choice."""


@dataclass(frozen=True)
class FrameChoice:
    """Indices on a clip's timeline.

    Attributes:
        target: the frame i to generate.
        references: frames (i-1, i-2); (i-1, i-1) where frame i-1 is taken as the clip's start.
        anchor: the frame that the global anchor is made from.
    """

    target: int
    references: tuple[int, int]
    anchor: int

    @property
    def indices(self) -> tuple[int, int, int, int]:
        """Target, both references, anchor; repetitions included."""
        return (self.target, *self.references, self.anchor)


@dataclass(frozen=True)
class NextFrame(Windows):
    """Frames to generate, the two before each, and an anchor.

    `targets` consecutive targets share their references and one anchor: `targets` + 3 frames are
    read and encoded for them, not 4 each. Where the clip is too short for all targets, its last is
    repeated.

    Args:
        targets: targets per window, K; at most `anchor_window`.
        anchor_window: the anchor is drawn from this many frames before every target (Sec. 3.4).
        start_probability: probability that the first target follows the clip's supposed start.

    Raises:
        UserError: a number outside its range.
    """

    targets: int = 1
    anchor_window: int = 10
    start_probability: float = 0.1

    def __post_init__(self) -> None:
        check_whole("anchor_window", self.anchor_window, 1)
        if not 0.0 <= self.start_probability <= 1.0:
            raise UserError(f"start_probability must be in [0, 1], got {self.start_probability}.")
        if not 1 <= self.targets <= self.anchor_window:
            raise UserError(
                f"A window of {self.targets} targets cannot share an anchor: choose 1 to "
                f"anchor_window, which is {self.anchor_window}."
            )

    @property
    def least(self) -> int:
        """A target and a frame before it."""
        return 2

    def for_evaluation(self) -> NextFrame:
        """The same with one target."""
        return replace(self, targets=1)

    def choose(self, count: int, rng: random.Random) -> Window:
        """The targets, frames i-1 and i-2 of the first of them, the anchor: `[K + 3]`."""
        usable = max(2, count - self.targets + 1)  # the first target leaves room for the others
        first = self.choose_frames(usable, rng)
        ends = [min(first.target + k, count - 1) for k in range(self.targets)]

        def place(index: int) -> int:
            before = first.target - index
            return -before if before <= 0 else self.targets + before - 1

        last = self.targets + 2
        choice = [(k, place(end - 1), place(end - 2), last) for k, end in enumerate(ends)]
        return Window((*ends, *first.references, first.anchor), tuple(choice))

    def choose_frames(self, count: int, rng: random.Random) -> FrameChoice:
        """The first target of a window, its references and its anchor.

        The target i is uniform over 1 .. count-1. With `start_probability`, and always for i = 1,
        frame i-1 is taken as the clip's start: no frame precedes it, so it serves as both
        references and as the anchor, exactly as in generation of the first frame after a given one.
        Otherwise the anchor is uniform over the frames before the target (Sec. 3.4).
        """
        if count < 2:
            raise ValueError(f"A training example needs at least 2 frames, got {count}.")
        target = rng.randint(1, count - 1)
        previous = target - 1
        if rng.random() < self.start_probability or target == 1:
            return FrameChoice(target, (previous, previous), previous)
        earliest = target + self.targets - 1 - self.anchor_window
        anchor = rng.randint(max(0, earliest), previous)
        return FrameChoice(target, (previous, previous - 1), anchor)


@dataclass(frozen=True)
class Roles:
    """A batch's frames, or something for each of them, by role.

    Attributes:
        target: the frames y^i `[B, ...]`.
        references: frames i-1 and i-2, `[B, 2, ...]`.
        anchor: the global anchor frames `[B, ...]`.
    """

    target: Tensor
    references: Tensor
    anchor: Tensor


def in_roles(batch: VideoBatch, values: Tensor | None = None) -> Roles:
    """`values` `[N, F, ...]`, one for each frame of each window, by role; None for the frames."""
    if batch.choice.shape[2] != ROLES:
        raise ValueError(
            f"VideoBatch.choice has shape {tuple(batch.choice.shape)}, expected [N, K, {ROLES}]."
        )
    gathered = batch.gather(batch.frames if values is None else values)
    return Roles(gathered[:, 0], gathered[:, 1:3], gathered[:, 3])
