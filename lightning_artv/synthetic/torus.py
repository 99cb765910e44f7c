"""One moving shape on a torus: what plain scenes and harder worlds have in common.

Whatever leaves the picture comes in at the opposite side, so that the truth is known for any number
of frames. A kind of world says its words, its speeds and its background.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightning_artv.errors import UserError
from lightning_artv.synthetic.drawing import (
    DIRECTIONS,
    MORE_COLORS,
    Image,
    Split,
    coverage,
    over,
)

_HELDOUT_SHARE = 0.25
Floats = NDArray[np.float64]
Kind = TypeVar("Kind", bound="Torus")


@dataclass(frozen=True)
class Obstacle:
    """The second shape: it stands on the background, in front of the moving one.

    Attributes:
        color: a key of `COLORS`, another one than the moving shape's.
        shape: one of `SHAPES`.
        x, y: its centre in frame 0, in pixels.
        radius: radius of the circle, in pixels; the other shapes have about its area.
    """

    color: str
    shape: str
    x: float
    y: float
    radius: float


class Torus(ABC):
    """All there is to know about one clip; equal ones render equal pixels. Kinds are dataclasses.

    Attributes:
        NOUN: what the kind is called in messages.
        WORDS: field -> the words that random ones have; a color may also be one of `MORE_COLORS`.
        SPEEDS: speed word -> pixels per frame at a size of 32.
        color, shape, direction, speed: words of the moving shape, as it is seen to move.
        x, y: its centre in frame 0, in pixels; pixel (0, 0) covers [0, 1) x [0, 1).
        radius: radius of the circle, in pixels; the other shapes have about its area.
        size: height and width in pixels.
        obstacle: or None; it moves with the background.
    """

    NOUN: ClassVar[str]
    WORDS: ClassVar[dict[str, tuple[str, ...]]]
    SPEEDS: ClassVar[dict[str, float]]

    color: str
    shape: str
    direction: str
    speed: str
    x: float
    y: float
    radius: float
    size: int
    obstacle: Obstacle | None

    def __post_init__(self) -> None:
        for name, words in self.WORDS.items():
            word = getattr(self, name)
            words = (*words, *MORE_COLORS) if name == "color" else words
            if word not in words:
                raise UserError(
                    f"A {self.NOUN}'s {name} is one of {', '.join(words)}, not {word!r}."
                )

    @abstractmethod
    def caption(self) -> str:
        """The words of what is shown."""

    @abstractmethod
    def _background(self, t: float) -> Floats:
        """Frame `t` without shapes, `[H, W, 3]` in [0, 255]."""

    def _wraps(self, t: float) -> bool:
        """Whether the moving shape may touch a border at frame `t`."""
        return True

    def scroll(self, t: float) -> tuple[int, int]:
        """How far (x, y) the background has moved at frame `t`, in whole pixels."""
        return 0, 0

    def step_of(self, speed: str) -> float:
        """Pixels per frame at a speed's word."""
        return self.SPEEDS[speed] * self.size / 32

    @property
    def step(self) -> float:
        """Pixels per frame."""
        return self.step_of(self.speed)

    def position(self, t: float) -> tuple[float, float]:
        """Centre (x, y) of the moving shape at frame `t`, in [0, size)."""
        dx, dy = DIRECTIONS[self.direction]
        x, y = self.x + dx * self.step * t, self.y + dy * self.step * t
        return x % self.size, y % self.size

    def whole_cover(self, t: float) -> Floats:
        """Share of each pixel that the moving shape covers if nothing hides it: `[H, W]` in [0, 1],
        antialiased.
        """
        x, y = self.position(t)
        return coverage(self.shape, x, y, self.radius, self.size, self._wraps(t))

    def obstacle_cover(self, t: float) -> Floats:
        """Share of each pixel that hides the moving shape at frame `t`: `[H, W]` in [0, 1]."""
        front, (dx, dy) = self.obstacle, self.scroll(t)
        if front is None:
            return np.zeros((self.size, self.size))
        return coverage(front.shape, front.x + dx, front.y + dy, front.radius, self.size, wrap=True)

    def cover(self, t: float) -> Floats:
        """What is seen of `whole_cover` at frame `t`: `[H, W]` in [0, 1]."""
        return self.whole_cover(t) * (1 - self.obstacle_cover(t))

    def background_image(self, t: float = 0) -> Image:
        """Frame `t` without shapes, uint8 `[H, W, 3]`."""
        return np.rint(self._background(t)).astype(np.uint8)

    def render(self, t: float) -> Image:
        """Frame `t`, uint8 `[H, W, 3]`."""
        picture = over(self._background(t), self.whole_cover(t), self.color)
        if self.obstacle is not None:
            picture = over(picture, self.obstacle_cover(t), self.obstacle.color)
        return np.rint(picture).astype(np.uint8)

    def video(self, frames: int) -> Image:
        """The first `frames` frames, uint8 `[T, H, W, 3]`."""
        return np.stack([self.render(t) for t in range(frames)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values; `from_dict` gives the equal one back."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    def to_json(self) -> str:
        """One line of JSON; `from_json` gives the equal one back."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_dict(cls: type[Kind], fields: Any) -> Kind:
        """The one of these fields; other keys are ignored.

        Raises:
            UserError: a field is missing.
        """
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        missing = [name for name in names if not isinstance(fields, dict) or name not in fields]
        if missing:
            raise UserError(f"The JSON of a {cls.NOUN} lacks {', '.join(missing)}.")
        return cls(**{name: fields[name] for name in names})

    @classmethod
    def from_json(cls: type[Kind], text: str | bytes) -> Kind:
        """The one of `to_json`'s text.

        Raises:
            UserError: the text is something else.
        """
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise UserError(f"This is not the JSON of a {cls.NOUN}: {error}.") from error
        return cls.from_dict(fields)


def is_heldout(world: Torus) -> bool:
    """Whether this one belongs to the held-out split; decided by a hash of it, so that no one can
    be in both splits whatever the seeds.
    """
    return hashlib.sha256(world.to_json().encode()).digest()[0] < 256 * _HELDOUT_SHARE


def drawn(draw: Callable[[random.Random], Kind], seed: str, split: Split) -> Kind:
    """The first one of a split that `draw` gives; the same on any machine."""
    rng = random.Random(seed)
    while True:
        world = draw(rng)
        if is_heldout(world) == (split == "heldout"):
            return world
