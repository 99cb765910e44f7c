"""What happens where the clips of a video join, measured from its pixels.

A system that makes clip after clip may jump at a join, turn motion back, change the colour, play
the clip before backwards, or show the one before that again. A video without clips can be cut at
the same places: its joins are then as good as any other frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lightning_artv.synthetic.drawing import DIRECTIONS, Image
from lightning_artv.synthetic.measures import ClipMeasures, measure_clip
from lightning_artv.synthetic.torus import Torus

Place = tuple[float, float] | None


@dataclass(frozen=True)
class Joins:
    """The joins of one video. Shares are in [0, 1], None where no join can tell.

    Attributes:
        jump: mean |x_k - x_(k-1)| across the joins over the same inside the clips; the truth has
            about 1. None where nothing moves inside.
        place_kept: share of joins after which the shape is within its radius of where it was.
        direction_kept: share of joins, of those before which there is a direction, after which it
            is the same.
        color_kept: the same of the colour.
        backwards: share of joins after which the clip before is played backwards: its direction is
            the opposite one, and its places are the same in reverse order.
        again: share of clips i + 2 that show clip i again: colour, direction and places, counted
            from the end where their lengths differ. On a torus the truth may come again too.
    """

    jump: float | None
    place_kept: float | None
    direction_kept: float | None
    color_kept: float | None
    backwards: float | None
    again: float | None


def measure_joins(frames: Image, world: Torus, starts: Sequence[int], stride: int = 1) -> Joins:
    """Measure the joins of one video.

    Args:
        frames: uint8 `[T, H, W, 3]`.
        world: what they should show; its size and radius count here, its words do not.
        starts: the frames that clips begin with, rising from 0.
        stride: how many frames of the world pass from one to the next.

    Raises:
        ValueError: `starts` that do not rise from 0 to below T.
    """
    ends = [*starts, len(frames)]
    if not starts or starts[0] != 0 or any(b <= a for a, b in pairwise(ends)):
        raise ValueError(f"Clips begin at rising frames from 0 to below {len(frames)}: {starts}.")
    clips = [measure_clip(frames[a:b], world, stride * a, stride) for a, b in pairwise(ends)]
    pairs = list(pairwise(clips))
    moving = [(a, b) for a, b in pairs if a.direction is not None]
    third = [(a, b) for a, b in zip(clips, clips[2:], strict=False) if a.direction is not None]
    return Joins(
        jump=_jump(frames, starts),
        place_kept=_share(
            near(a.places[-1:], b.places[:1], world) for a, b in pairs if a.places[-1]
        ),
        direction_kept=_share(a.direction == b.direction for a, b in moving),
        color_kept=_share(a.color == b.color for a, b in pairs if a.color is not None),
        backwards=_share(
            _turned(a, b) and near(a.places[::-1], b.places, world) for a, b in moving
        ),
        again=_share(
            (a.color, a.direction) == (b.color, b.direction)
            and near(a.places[::-1], b.places[::-1], world)
            for a, b in third
        ),
    )


def _jump(frames: Image, starts: Sequence[int]) -> float | None:
    steps = np.abs(np.diff(frames.astype(np.float64), axis=0)).mean(axis=(1, 2, 3))
    across = np.isin(np.arange(1, len(frames)), starts)
    if not across.any() or not steps[~across].any():
        return None
    return float(steps[across].mean() / steps[~across].mean())


def _turned(before: ClipMeasures, after: ClipMeasures) -> bool:
    if before.direction is None or after.direction is None:
        return False
    ways = np.array([DIRECTIONS[before.direction], DIRECTIONS[after.direction]])
    return not ways.sum(axis=0).any()


def near(one: Sequence[Place], other: Sequence[Place], world: Torus) -> bool:
    """Whether places are within the shape's radius of each other on the torus, on average over the
    frames in which both are seen.
    """
    both = [(a, b) for a, b in zip(one, other, strict=False) if a is not None and b is not None]
    if not both:
        return False
    apart = np.abs(np.diff(np.array(both), axis=1)[:, 0])
    apart = np.minimum(apart, world.size - apart)
    return bool(np.hypot(*apart.T).mean() <= world.radius)


def _share(hits: Iterable[bool]) -> float | None:
    found = list(hits)
    return float(np.mean(found)) if found else None
