"""Which frames make a training example (paper Sec. 3.1 and 3.4); pure, no I/O."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_artv.errors import UserError


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
class Window:
    """The frames that `K` consecutive targets of a clip need, `K + 3` of them.

    Attributes:
        frames: indices on the clip's timeline: the targets, i-1 and i-2 of the first target, the
            anchor; repetitions included.
        choice: for each target where in `frames` are: the target, frames i-1 and i-2, the anchor.
    """

    frames: tuple[int, ...]
    choice: tuple[tuple[int, int, int, int], ...]


def choose_window(
    count: int,
    rng: random.Random,
    targets: int = 1,
    anchor_window: int = 10,
    start_probability: float = 0.1,
) -> Window:
    """Draw `targets` consecutive targets that share their references and one anchor, so that few
    frames are encoded a target.

    With one target this is `choose_frames`. The anchor is one of the `anchor_window` frames before
    every target, or the clip's start. Where the clip is too short for all targets, its last is
    repeated.

    Args:
        count: frames on the timeline, at least 2.
        rng: the only source of randomness.
        targets: K, at most `anchor_window`.
    """
    if not 1 <= targets <= anchor_window:
        raise UserError(
            f"targets_per_window is {targets}: choose 1 to anchor_window, which is {anchor_window}."
        )
    usable = max(2, count - targets + 1)  # the first target leaves room for the others
    first = choose_frames(usable, rng, anchor_window, start_probability, reach=targets - 1)
    ends = [min(first.target + k, count - 1) for k in range(targets)]

    def place(index: int) -> int:
        before = first.target - index
        return -before if before <= 0 else targets + before - 1

    choice = [(k, place(end - 1), place(end - 2), targets + 2) for k, end in enumerate(ends)]
    return Window((*ends, *first.references, first.anchor), tuple(choice))


def choose_frames(
    count: int,
    rng: random.Random,
    anchor_window: int = 10,
    start_probability: float = 0.1,
    reach: int = 0,
) -> FrameChoice:
    """Draw a target, its references and its anchor from a clip.

    The target i is uniform over 1 .. count-1. With `start_probability`, and always for i = 1, frame
    i-1 is taken as the clip's start: no frame precedes it, so it serves as both references and as
    the anchor, exactly as in generation of the first frame after a given one. Otherwise the anchor
    is uniform over the `anchor_window` frames before the target (Sec. 3.4).

    Args:
        count: frames on the timeline, at least 2.
        rng: the only source of randomness.
        anchor_window: at least 1.
        start_probability: in [0, 1].
        reach: the anchor is also within `anchor_window` of this many frames after the target.
    """
    if count < 2:
        raise ValueError(f"A training example needs at least 2 frames, got {count}.")
    if anchor_window < 1:
        raise UserError(f"anchor_window must be at least 1, got {anchor_window}.")
    if not 0.0 <= start_probability <= 1.0:
        raise UserError(f"start_probability must be in [0, 1], got {start_probability}.")
    target = rng.randint(1, count - 1)
    previous = target - 1
    if rng.random() < start_probability or target == 1:
        return FrameChoice(target, (previous, previous), previous)
    anchor = rng.randint(max(0, target + reach - anchor_window), previous)
    return FrameChoice(target, (previous, previous - 1), anchor)


def timeline(timestamps: Sequence[float], fps: float | None) -> list[int]:
    """The source frame nearest to each tick k / fps, from the first frame's time to the last's.

    A source slower than `fps` repeats frames; one with a variable rate is sampled evenly in time.

    Args:
        timestamps: seconds, ascending; any origin.
        fps: ticks a second; None for every source frame.
    """
    if fps is None or not timestamps:
        return list(range(len(timestamps)))
    if fps <= 0:
        raise UserError(f"fps must be positive, or null for every frame, got {fps}.")
    start = timestamps[0]
    ticks = int((timestamps[-1] - start) * fps + 1e-6) + 1
    return [_nearest(timestamps, start + tick / fps) for tick in range(ticks)]


def _nearest(timestamps: Sequence[float], time: float) -> int:
    after = min(bisect_left(timestamps, time), len(timestamps) - 1)
    if after > 0 and time - timestamps[after - 1] <= timestamps[after] - time + 1e-9:
        return after - 1
    return after
