"""Moving shapes: a seeded synthetic video source whose caption and ground truth are exact.

One coloured shape moves straight, at constant speed, over a plain or softly shaded background.
Everything that can be measured afterwards (colour, shape, direction, position, background) is known
from the `Scene` alone. The shape either stays inside the picture for a number of frames, or moves
on a torus: whatever leaves the picture comes in at the opposite side, for any number of frames.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightning_artv.errors import UserError

Image = NDArray[np.uint8]
Split = Literal["train", "heldout"]

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 70, 225),
    "yellow": (245, 215, 40),
    "purple": (160, 50, 190),
    "cyan": (40, 205, 225),
}
"""Object colours, RGB in [0, 255]; far from each other and from every background."""

BACKGROUNDS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "black": ((22, 22, 22), (22, 22, 22)),
    "grey": ((115, 115, 115), (115, 115, 115)),
    "white": ((235, 235, 235), (235, 235, 235)),
    "dusky": ((40, 38, 56), (118, 100, 100)),
    "foggy": ((212, 214, 218), (145, 145, 145)),
}
"""Background word -> RGB of the top and of the bottom row; rows between are blended linearly."""

SHAPES = ("circle", "square", "triangle")
DIRECTIONS: dict[str, tuple[int, int]] = {
    "right": (1, 0),
    "left": (-1, 0),
    "down": (0, 1),
    "up": (0, -1),
}
"""Direction word -> unit vector (x to the right, y downwards)."""

SPEEDS: dict[str, float] = {"slowly": 0.7, "quickly": 1.2}
"""Pixels per frame at a size of 32 pixels, for clips of up to 16 frames; see `Scene.step`."""

_UNIT = 32.0
_FULL_SPEED_FRAMES = 16
_RADII = (3.6, 4.6)
_HELDOUT_SHARE = 0.25


@dataclass(frozen=True)
class Scene:
    """All there is to know about one clip; equal scenes render equal pixels.

    Attributes:
        color: a key of `COLORS`.
        shape: one of `SHAPES`.
        direction: a key of `DIRECTIONS`.
        speed: a key of `SPEEDS`.
        background: a key of `BACKGROUNDS`.
        x, y: the centre of the shape in frame 0, in pixels; pixel (0, 0) covers [0, 1) x [0, 1).
        radius: of the circle, in pixels; the other shapes have about its area.
        size: height and width in pixels.
        frames: number of frames during which the shape is wholly visible; None on a torus.
    """

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

    def __post_init__(self) -> None:
        for name, words in _WORDS.items():
            word = getattr(self, name)
            if word not in words:
                raise UserError(f"A scene's {name} is one of {', '.join(words)}, not {word!r}.")

    @property
    def step(self) -> float:
        """Pixels per frame: `SPEEDS`, scaled with the size, and slowed where the path of more than
        16 frames has to fit into the picture."""
        frames = _FULL_SPEED_FRAMES if self.frames is None else self.frames
        slow_down = min(1.0, (_FULL_SPEED_FRAMES - 1) / max(frames - 1, 1))
        return SPEEDS[self.speed] * self.size / _UNIT * slow_down

    def position(self, t: float) -> tuple[float, float]:
        """Centre (x, y) of the shape at frame `t`, in pixels."""
        dx, dy = DIRECTIONS[self.direction]
        x, y = self.x + dx * self.step * t, self.y + dy * self.step * t
        return (x % self.size, y % self.size) if self.frames is None else (x, y)

    def cover(self, t: float) -> NDArray[np.float64]:
        """Share of each pixel that the shape covers at frame `t`: `[H, W]` in [0, 1],
        antialiased.
        """
        x, y = self.position(t)
        return coverage(self.shape, x, y, self.radius, self.size, wrap=self.frames is None)

    def background_image(self) -> Image:
        """The picture without the shape, uint8 `[H, W, 3]`."""
        return np.rint(self._background()).astype(np.uint8)

    def render(self, t: float) -> Image:
        """Frame `t`, uint8 `[H, W, 3]`."""
        cover = self.cover(t)[..., None]
        color = np.array(COLORS[self.color], dtype=np.float64)
        return np.rint(self._background() * (1 - cover) + color * cover).astype(np.uint8)

    def video(self, frames: int | None = None) -> Image:
        """The first `frames` frames, or all frames of a scene that counts them; uint8 `[T, H, W,
        3]`.
        """
        frames = frames or self.frames
        if frames is None:
            raise ValueError("A scene on a torus has any number of frames: say how many.")
        return np.stack([self.render(t) for t in range(frames)])

    def caption(self) -> str:
        """Such as "a red circle moves right slowly on a grey background"."""
        return (
            f"a {self.color} {self.shape} moves {self.direction} {self.speed} "
            f"on a {self.background} background"
        )

    def to_json(self) -> str:
        """One line of JSON; `from_json` gives the equal scene back."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Scene:
        """The scene of `to_json`'s text.

        Raises:
            UserError: the text is not a scene.
        """
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise UserError(f"This is not the JSON of a moving-shapes scene: {error}.") from error
        return cls.from_dict(fields)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Scene:
        """The scene of these fields; keys that are no fields of a scene are ignored."""
        names = [field.name for field in dataclasses.fields(cls)]
        missing = [name for name in names if not isinstance(fields, dict) or name not in fields]
        if missing:
            raise UserError(f"The JSON of a moving-shapes scene lacks {', '.join(missing)}.")
        return cls(**{name: fields[name] for name in names})

    def _background(self) -> NDArray[np.float64]:
        rows = background_rows(self.background, self.size)
        return np.broadcast_to(rows[:, None], (self.size, self.size, 3))


_WORDS: dict[str, tuple[str, ...]] = {
    "color": tuple(COLORS),
    "shape": SHAPES,
    "direction": tuple(DIRECTIONS),
    "speed": tuple(SPEEDS),
    "background": tuple(BACKGROUNDS),
}


def background_rows(background: str, size: int) -> NDArray[np.float64]:
    """The colour of each row of a background, `[size, 3]` in [0, 255]."""
    top, bottom = np.array(BACKGROUNDS[background], dtype=np.float64)
    blend = np.linspace(0.0, 1.0, size)[:, None]
    return top * (1 - blend) + bottom * blend


def area(shape: str, radius: float) -> float:
    """Area of a shape in square pixels."""
    factor = {"circle": np.pi, "square": 4.0, "triangle": 0.75 * np.sqrt(3)}[shape]
    return float(factor) * extent(shape, radius) ** 2


def coverage(
    shape: str, x: float, y: float, radius: float, size: int, wrap: bool = False
) -> NDArray[np.float64]:
    """Antialiased silhouette of a shape centred at (x, y): `[size, size]` in [0, 1].

    The coverage of a pixel is its signed distance to the outline, clamped to half a pixel: exact on
    straight edges along the axes, and smooth in sub-pixel motion. With `wrap`, what leaves the
    picture comes in at the opposite side.
    """
    centres = np.arange(size, dtype=np.float64) + 0.5
    dx, dy = (centres - x)[None, :], (centres - y)[:, None]
    if wrap:
        dx, dy = ((d + size / 2) % size - size / 2 for d in (dx, dy))
    if shape == "circle":
        distance = np.hypot(dx, dy) - radius
    elif shape == "square":
        distance = np.maximum(np.abs(dx), np.abs(dy)) - extent(shape, radius)
    else:  # an equilateral triangle, tip up: its centre is half as far from the sides as from it
        inner = extent(shape, radius) / 2
        slanted = np.abs(dx) * np.sqrt(0.75) - dy * 0.5
        distance = np.maximum(slanted, dy) - inner
    return np.clip(0.5 - distance, 0.0, 1.0)


def extent(shape: str, radius: float) -> float:
    """How far the shape reaches from its centre, in pixels."""
    return {"circle": 1.0, "square": 0.9, "triangle": 1.3}[shape] * radius


def random_scene(rng: random.Random, size: int = 32, frames: int | None = 16) -> Scene:
    """A scene whose shape stays inside the picture, with at least half a pixel of margin, for all
    `frames`; without a number of frames, one on a torus, whose shape begins anywhere.

    Raises:
        UserError: the size is below 16 pixels or there are fewer than 2 frames.
    """
    if size < 16 or (frames is not None and frames < 2):
        raise UserError(
            f"Moving shapes need at least 16 pixels and 2 frames, got {size} and {frames}."
        )
    words = {name: rng.choice(choices) for name, choices in _WORDS.items()}
    radius = round(rng.uniform(*_RADII) * size / _UNIT, 3)
    still = Scene(**words, x=0.0, y=0.0, radius=radius, size=size, frames=frames)
    if frames is None:
        x, y = rng.uniform(0, size), rng.uniform(0, size)
    else:
        end_x, end_y = still.position(frames - 1)
        margin = extent(still.shape, radius) + 0.5
        x = rng.uniform(margin - min(end_x, 0.0), size - margin - max(end_x, 0.0))
        y = rng.uniform(margin - min(end_y, 0.0), size - margin - max(end_y, 0.0))
    return dataclasses.replace(still, x=round(x, 3), y=round(y, 3))


def is_heldout(scene: Scene) -> bool:
    """Whether the scene belongs to the held-out split; decided by a hash of the scene itself, so no
    scene can be in both splits whatever the seeds."""
    digest = hashlib.sha256(scene.to_json().encode()).digest()
    return digest[0] < 256 * _HELDOUT_SHARE


def scene_at(
    index: int, seed: int, split: Split = "train", size: int = 32, frames: int | None = 16
) -> Scene:
    """Scene number `index` of a split; the same arguments give the same scene, on any machine.
    `frames` None: on a torus.
    """
    rng = random.Random(f"{split}:{seed}:{index}")
    while True:
        scene = random_scene(rng, size, frames)
        if is_heldout(scene) == (split == "heldout"):
            return scene
