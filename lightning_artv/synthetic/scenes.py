"""Plain moving shapes: a seeded synthetic video source whose caption and ground truth are exact.

One coloured shape moves straight, at constant speed, over a plain or softly shaded background.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from lightning_artv.errors import UserError
from lightning_artv.synthetic.drawing import COLORS, DIRECTIONS, SHAPES, Image, Split, extent
from lightning_artv.synthetic.torus import Floats, Torus, drawn

BACKGROUNDS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "black": ((22, 22, 22), (22, 22, 22)),
    "grey": ((115, 115, 115), (115, 115, 115)),
    "white": ((235, 235, 235), (235, 235, 235)),
    "dusky": ((40, 38, 56), (118, 100, 100)),
    "foggy": ((212, 214, 218), (145, 145, 145)),
}
"""Background word -> RGB of the top and of the bottom row; rows between are blended linearly."""

SPEEDS: dict[str, float] = {"slowly": 0.7, "quickly": 1.2}
"""Pixels per frame at a size of 32 pixels, for clips of up to 16 frames; see `Scene.step`."""

_FULL_SPEED_FRAMES = 16
_RADII = (3.6, 4.6)


@dataclass(frozen=True)
class Scene(Torus):
    """A calm world: nothing moves but the shape, and nothing hides it.

    Attributes:
        background: a key of `BACKGROUNDS`.
        frames: number of frames for which the shape stays wholly inside the picture, slowed where
            there are more than 16; None: it crosses the borders from the beginning.
    """

    NOUN: ClassVar[str] = "scene"
    WORDS: ClassVar[dict[str, tuple[str, ...]]] = {
        "color": tuple(COLORS),
        "shape": SHAPES,
        "direction": tuple(DIRECTIONS),
        "speed": tuple(SPEEDS),
        "background": tuple(BACKGROUNDS),
    }
    SPEEDS: ClassVar[dict[str, float]] = SPEEDS

    obstacle = None  # no field

    color: str
    shape: str
    direction: str
    speed: str
    background: str
    x: float
    y: float
    radius: float
    size: int = 32
    frames: int | None = 16

    def step_of(self, speed: str) -> float:
        """Pixels per frame at a speed's word, slowed so that the path fits into the picture."""
        frames = _FULL_SPEED_FRAMES if self.frames is None else self.frames
        slow_down = min(1.0, (_FULL_SPEED_FRAMES - 1) / max(frames - 1, 1))
        return super().step_of(speed) * slow_down

    def video(self, frames: int | None = None) -> Image:
        """The first `frames` frames, or those in which the shape stays inside; uint8 `[T, H, W,
        3]`.
        """
        frames = frames or self.frames
        if frames is None:
            raise ValueError("A scene that crosses the borders has any number of frames: say one.")
        return super().video(frames)

    def caption(self) -> str:
        """Such as "a red circle moves right slowly on a grey background"."""
        article = "an" if self.color == "orange" else "a"
        return (
            f"{article} {self.color} {self.shape} moves {self.direction} {self.speed} "
            f"on a {self.background} background"
        )

    def _wraps(self, t: float) -> bool:
        return self.frames is None or not 0 <= t < self.frames

    def _background(self, t: float) -> Floats:
        rows = background_rows(self.background, self.size)
        return np.broadcast_to(rows[:, None], (self.size, self.size, 3))


def background_rows(background: str, size: int) -> Floats:
    """The colour of each row of a background, `[size, 3]` in [0, 255]."""
    top, bottom = np.array(BACKGROUNDS[background], dtype=np.float64)
    blend = np.linspace(0.0, 1.0, size)[:, None]
    return top * (1 - blend) + bottom * blend


def random_scene(
    rng: random.Random, size: int = 32, frames: int | None = 16, color: str | None = None
) -> Scene:
    """A scene whose shape stays inside the picture, with at least half a pixel of margin, for all
    `frames`; without a number of frames, one on a torus, whose shape begins anywhere.

    Raises:
        UserError: the size is below 16 pixels or there are fewer than 2 frames.
    """
    if size < 16 or (frames is not None and frames < 2):
        raise UserError(
            f"Moving shapes need at least 16 pixels and 2 frames, got {size} and {frames}."
        )
    words: dict[str, Any] = {name: rng.choice(choices) for name, choices in Scene.WORDS.items()}
    if color is not None:
        words["color"] = color
    radius = round(rng.uniform(*_RADII) * size / 32, 3)
    still = Scene(**words, x=0.0, y=0.0, radius=radius, size=size, frames=frames)
    if frames is None:
        x, y = rng.uniform(0, size), rng.uniform(0, size)
    else:
        end_x, end_y = (d * still.step * (frames - 1) for d in DIRECTIONS[still.direction])
        margin = extent(still.shape, radius) + 0.5
        x = rng.uniform(margin - min(end_x, 0.0), size - margin - max(end_x, 0.0))
        y = rng.uniform(margin - min(end_y, 0.0), size - margin - max(end_y, 0.0))
    return dataclasses.replace(still, x=round(x, 3), y=round(y, 3))


def scene_at(
    index: int,
    seed: int,
    split: Split = "train",
    size: int = 32,
    frames: int | None = 16,
    color: str | None = None,
) -> Scene:
    """Scene number `index` of a split; the same arguments give the same scene, on any machine.

    Args:
        color: colour of the shape; None: one of `COLORS`, drawn as all the rest.
    """
    draw = partial(random_scene, size=size, frames=frames, color=color)
    return drawn(draw, f"{split}:{seed}:{index}", split)
