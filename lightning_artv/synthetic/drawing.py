"""The palette, the directions and the silhouettes of moving shapes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

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

MORE_COLORS: dict[str, tuple[int, int, int]] = {"orange": (235, 130, 35)}
"""Colours that are drawn where they are asked for only: something new to learn."""

PALETTE = {**COLORS, **MORE_COLORS}

SHAPES = ("circle", "square", "triangle")
DIRECTIONS: dict[str, tuple[int, int]] = {
    "right": (1, 0),
    "left": (-1, 0),
    "down": (0, 1),
    "up": (0, -1),
}
"""Direction word -> unit vector (x to the right, y downwards)."""


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


def over(
    picture: NDArray[np.float64], cover: NDArray[np.float64], color: str
) -> NDArray[np.float64]:
    above = cover[..., None]
    return picture * (1 - above) + np.array(PALETTE[color], dtype=np.float64) * above
