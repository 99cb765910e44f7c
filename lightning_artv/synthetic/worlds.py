"""Harder moving shapes, whose truth is exact for any number of frames.

A world is a picture whose borders meet (a torus). One coloured shape moves over a textured
background; a second one may stand in front of it and hide it when it passes; the camera may pan,
which scrolls the background and the second shape. Whatever leaves the picture comes in at the
opposite side, so frame 127 is as well defined as frame 1.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_artv.errors import UserError
from lightning_artv.synthetic.scenes import (
    COLORS,
    DIRECTIONS,
    SHAPES,
    Image,
    Split,
    coverage,
    extent,
)

SPEEDS: dict[str, float] = {"slowly": 0.6, "quickly": 1.4}
"""Pixels per frame at a size of 32 pixels."""

TEXTURES = ("bricks", "checks", "stripes", "waves")
PANS: dict[str, tuple[int, int]] = {"still": (0, 0), **DIRECTIONS}
"""Where the background scrolls; one pixel per frame at a size of 32, so that no frame blurs it."""

_UNIT = 32
_RADII = (4.2, 5.2)
_HELDOUT_SHARE = 0.25
_STILL_SHARE = 0.5
_OBSTACLE_SHARE = 0.5


@dataclass(frozen=True)
class Obstacle:
    """The second shape: it stands on the background, in front of the moving one.

    Attributes:
        color: a key of `COLORS`, another one than the moving shape's.
        shape: one of `SHAPES`.
        x, y: its centre in frame 0, in pixels.
        radius: of the circle, in pixels; the other shapes have about its area.
    """

    color: str
    shape: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class World:
    """All there is to know about one clip; equal worlds render equal pixels.

    Attributes:
        color, shape, direction, speed: of the moving shape; words of `COLORS`, `SHAPES`,
            `DIRECTIONS`, `SPEEDS`. The motion is the one seen in the picture.
        texture: one of `TEXTURES`.
        tint: texture's mean RGB, in [0, 255].
        phase: (x, y) offset of the texture in pixels.
        pan: a key of `PANS`: where the background scrolls.
        obstacle: or None.
        x, y: centre of the moving shape in frame 0, in pixels; pixel (0, 0) covers [0, 1) x [0, 1).
        radius: of the circle, in pixels; the other shapes have about its area.
        size: height and width in pixels, a multiple of 32.
    """

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
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                raise UserError(
                    f"A world's {name} is one of {', '.join(words)}, not {getattr(self, name)!r}."
                )
        if self.size < _UNIT or self.size % _UNIT:
            raise UserError(f"A world's size is a multiple of {_UNIT} pixels, not {self.size}.")

    @property
    def scale(self) -> int:
        """Pixels of this size to a pixel at 32."""
        return self.size // _UNIT

    @property
    def velocity(self) -> tuple[float, float]:
        """Of the moving shape, in pixels per frame."""
        dx, dy = DIRECTIONS[self.direction]
        step = SPEEDS[self.speed] * self.scale
        return dx * step, dy * step

    def position(self, t: float) -> tuple[float, float]:
        """Centre (x, y) of the moving shape at frame `t`, in [0, size)."""
        dx, dy = self.velocity
        return (self.x + dx * t) % self.size, (self.y + dy * t) % self.size

    def scroll(self, t: int) -> tuple[int, int]:
        """How far (x, y) the background has moved at frame `t`, in pixels."""
        dx, dy = PANS[self.pan]
        return dx * self.scale * t, dy * self.scale * t

    def background(self, t: int) -> Image:
        """Frame `t` without the shapes, uint8 `[H, W, 3]`."""
        return np.rint(self._background(t)).astype(np.uint8)

    def obstacle_cover(self, t: int) -> NDArray[np.float64]:
        """Share of each pixel that the obstacle covers at frame `t`: `[H, W]` in [0, 1]."""
        if self.obstacle is None:
            return np.zeros((self.size, self.size))
        dx, dy = self.scroll(t)
        place = (self.obstacle.x + dx, self.obstacle.y + dy)
        return coverage(self.obstacle.shape, *place, self.obstacle.radius, self.size, wrap=True)

    def whole_cover(self, t: int) -> NDArray[np.float64]:
        """Share of each pixel that the moving shape would cover without an obstacle: `[H, W]`."""
        return coverage(self.shape, *self.position(t), self.radius, self.size, wrap=True)

    def cover(self, t: int) -> NDArray[np.float64]:
        """What is seen of `whole_cover` at frame `t`: `[H, W]` in [0, 1]."""
        return self.whole_cover(t) * (1 - self.obstacle_cover(t))

    def render(self, t: int) -> Image:
        """Frame `t`, uint8 `[H, W, 3]`."""
        picture = _over(self._background(t), self.whole_cover(t), self.color)
        if self.obstacle is not None:
            picture = _over(picture, self.obstacle_cover(t), self.obstacle.color)
        return np.rint(picture).astype(np.uint8)

    def video(self, frames: int) -> Image:
        """The first `frames` frames, uint8 `[T, H, W, 3]`."""
        return np.stack([self.render(t) for t in range(frames)])

    def caption(self) -> str:
        """Such as "a red circle moves right slowly behind a blue square, bricks drift west"."""
        front = self.obstacle
        behind = "" if front is None else f" behind a {front.color} {front.shape}"
        scroll = "stand still" if self.pan == "still" else f"drift {_COMPASS[self.pan]}"
        mover = f"a {self.color} {self.shape} moves {self.direction} {self.speed}"
        return f"{mover}{behind}, {self.texture} {scroll}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values; `from_dict` gives the equal world back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> World:
        """The world of these fields; other keys are ignored.

        Raises:
            UserError: a field is missing.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        missing = [name for name in names if not isinstance(fields, dict) or name not in fields]
        if missing:
            raise UserError(f"The JSON of a world lacks {', '.join(missing)}.")
        chosen = {name: fields[name] for name in names}
        for name in ("tint", "phase"):
            chosen[name] = tuple(chosen[name])
        if chosen["obstacle"] is not None:
            chosen["obstacle"] = Obstacle(**chosen["obstacle"])
        return cls(**chosen)

    def _background(self, t: int) -> NDArray[np.float64]:
        dx, dy = self.scroll(t)
        shift = (dy + self.phase[1], dx + self.phase[0])
        pattern = np.roll(_pattern(self.texture, self.size), shift, axis=(0, 1))
        return np.clip(np.array(self.tint) + _CONTRAST * pattern[..., None], 0, 255)


_CONTRAST = 24.0
_COMPASS = {"right": "east", "left": "west", "down": "south", "up": "north"}
"""The background's words, so that a direction is said in the same words of one thing only."""

_WORDS: dict[str, tuple[str, ...]] = {
    "color": tuple(COLORS),
    "shape": SHAPES,
    "direction": tuple(DIRECTIONS),
    "speed": tuple(SPEEDS),
    "texture": TEXTURES,
    "pan": tuple(PANS),
}


def _over(
    picture: NDArray[np.float64], cover: NDArray[np.float64], color: str
) -> NDArray[np.float64]:
    above = cover[..., None]
    return picture * (1 - above) + np.array(COLORS[color], dtype=np.float64) * above


def _pattern(texture: str, size: int) -> NDArray[np.float64]:
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
    words: dict[str, Any] = {name: rng.choice(choices) for name, choices in _WORDS.items()}
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


def is_heldout(world: World) -> bool:
    """Whether the world belongs to the held-out split, decided by a hash of the world itself."""
    text = json.dumps(world.to_dict(), sort_keys=True)
    return hashlib.sha256(text.encode()).digest()[0] < 256 * _HELDOUT_SHARE


def world_at(index: int, seed: int, split: Split = "train", size: int = 32) -> World:
    """World number `index` of a split; the same arguments give the same one, on any machine."""
    rng = random.Random(f"world:{split}:{seed}:{index}")
    while True:
        world = random_world(rng, size)
        if is_heldout(world) == (split == "heldout"):
            return world
