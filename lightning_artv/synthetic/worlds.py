"""Harder moving shapes, whose truth is exact for any number of frames.

One coloured shape moves over a textured background; a second one may stand in front of it and hide
it when it passes; the camera may pan, which scrolls the background and the second shape.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from lightning_artv.errors import UserError
from lightning_artv.synthetic.drawing import (
    COLORS,
    DIRECTIONS,
    SHAPES,
    Split,
    extent,
)
from lightning_artv.synthetic.torus import Floats, Obstacle, Torus, drawn

SPEEDS: dict[str, float] = {"slowly": 0.6, "quickly": 1.4}
"""Pixels per frame at a size of 32 pixels."""

TEXTURES = ("bricks", "checks", "stripes", "waves")
PANS: dict[str, tuple[int, int]] = {"still": (0, 0), **DIRECTIONS}
"""Where the background scrolls; one pixel per frame at a size of 32, so that no frame blurs it."""

_UNIT = 32
_RADII = (4.2, 5.2)
_STILL_SHARE = 0.5
_OBSTACLE_SHARE = 0.5
_CONTRAST = 24.0
_COMPASS = {"right": "east", "left": "west", "down": "south", "up": "north"}
"""The background's words, so that a direction is said in the same words of one thing only."""


@dataclass(frozen=True)
class World(Torus):
    """A textured world, which may scroll and have an obstacle.

    Attributes:
        texture: one of `TEXTURES`.
        tint: texture's mean RGB, in [0, 255].
        phase: (x, y) offset of the texture in pixels.
        pan: a key of `PANS`: where the background scrolls.
        obstacle: or None.
        size: height and width in pixels, a multiple of 32.
    """

    NOUN: ClassVar[str] = "world"
    WORDS: ClassVar[dict[str, tuple[str, ...]]] = {
        "color": tuple(COLORS),
        "shape": SHAPES,
        "direction": tuple(DIRECTIONS),
        "speed": tuple(SPEEDS),
        "texture": TEXTURES,
        "pan": tuple(PANS),
    }
    SPEEDS: ClassVar[dict[str, float]] = SPEEDS

    color: str
    shape: str
    direction: str
    speed: str
    texture: str
    tint: tuple[int, int, int]
    phase: tuple[int, int]
    pan: str
    obstacle: Obstacle | None
    x: float
    y: float
    radius: float
    size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < _UNIT or self.size % _UNIT:
            raise UserError(f"A world's size is a multiple of {_UNIT} pixels, not {self.size}.")

    @property
    def scale(self) -> int:
        """Pixels of this size to a pixel at 32."""
        return self.size // _UNIT

    def step_of(self, speed: str) -> float:
        """Pixels per frame at a speed's word."""
        return SPEEDS[speed] * self.scale

    def scroll(self, t: float) -> tuple[int, int]:
        """How far (x, y) the background has moved at frame `t`, in whole pixels."""
        dx, dy = PANS[self.pan]
        return round(dx * self.scale * t), round(dy * self.scale * t)

    def caption(self) -> str:
        """Such as "a red circle moves right slowly behind a blue square, bricks drift west"."""
        front = self.obstacle
        behind = "" if front is None else f" behind a {front.color} {front.shape}"
        scroll = "stand still" if self.pan == "still" else f"drift {_COMPASS[self.pan]}"
        mover = f"a {self.color} {self.shape} moves {self.direction} {self.speed}"
        return f"{mover}{behind}, {self.texture} {scroll}"

    @classmethod
    def from_dict(cls, fields: Any) -> World:
        """The world of these fields; other keys are ignored.

        Raises:
            UserError: a field is missing.
        """
        made = super().from_dict(fields)
        red, green, blue = made.tint  # lists and a dict, where they come from JSON
        x, y = made.phase
        front = Obstacle(**made.obstacle) if isinstance(made.obstacle, dict) else made.obstacle
        return dataclasses.replace(made, tint=(red, green, blue), phase=(x, y), obstacle=front)

    def _background(self, t: float) -> Floats:
        dx, dy = self.scroll(t)
        shift = (dy + self.phase[1], dx + self.phase[0])
        pattern = np.roll(_pattern(self.texture, self.size), shift, axis=(0, 1))
        return np.clip(np.array(self.tint) + _CONTRAST * pattern[..., None], 0, 255)


def _pattern(texture: str, size: int) -> Floats:
    """A texture `[size, size]` in [-1, 1] whose borders meet."""
    unit = np.arange(size) * (_UNIT / size)
    x, y = unit[None, :], unit[:, None]
    if texture == "bricks":  # courses 8 high, bricks 16 wide, every other course shifted
        shifted = x + 8 * (y // 8 % 2)
        return np.where((y % 8 < 2) | (shifted % 16 < 2), -1.0, 0.5)
    if texture == "checks":
        return np.where((x // 8 + y // 8) % 2 == 0, 0.7, -0.7)
    if texture == "stripes":  # diagonal, 16 apart
        return np.sin(2 * np.pi * (x + y) / 16)
    return (np.sin(2 * np.pi * (x + 2 * y) / _UNIT) + np.cos(2 * np.pi * (2 * x - y) / _UNIT)) / 2


def random_world(rng: random.Random, size: int = 32) -> World:
    """A world drawn at random; the obstacle stands where the moving shape will pass.

    Raises:
        UserError: an impossible size.
    """
    words: dict[str, Any] = {name: rng.choice(choices) for name, choices in World.WORDS.items()}
    if rng.random() < _STILL_SHARE:
        words["pan"] = "still"
    grey = rng.randrange(75, 186)
    scale = size / _UNIT
    draw: dict[str, Any] = {
        "tint": tuple(grey + rng.randrange(-8, 9) for _ in range(3)),
        "phase": (rng.randrange(size), rng.randrange(size)),
        "x": round(rng.uniform(0, size), 3),
        "y": round(rng.uniform(0, size), 3),
        "radius": round(rng.uniform(*_RADII) * scale, 3),
    }
    world = World(**words, **draw, obstacle=None, size=size)
    if rng.random() >= _OBSTACLE_SHARE:
        return world
    return dataclasses.replace(world, obstacle=_in_the_way(world, rng))


def _in_the_way(world: World, rng: random.Random) -> Obstacle:
    """An obstacle on the moving shape's path, apart from it in frame 0."""
    color = rng.choice([color for color in COLORS if color != world.color])
    shape = rng.choice(SHAPES)
    radius = round(rng.uniform(*_RADII) * world.scale, 3)
    apart = extent(world.shape, world.radius) + extent(shape, radius) + 1
    along = rng.uniform(apart, world.size - apart)
    across = rng.uniform(-0.5, 0.5) * radius
    dx, dy = DIRECTIONS[world.direction]
    x, y = world.x + dx * along + dy * across, world.y + dy * along + dx * across
    return Obstacle(color, shape, round(x % world.size, 3), round(y % world.size, 3), radius)


def world_at(index: int, seed: int, split: Split = "train", size: int = 32) -> World:
    """World number `index` of a split; the same arguments give the same one, on any machine."""
    return drawn(partial(random_world, size=size), f"world:{split}:{seed}:{index}", split)
