"""Zoom and pan: a still picture seen through a box that moves; pure but for Pillow's resampling.

The corners of the box move linearly from the first box to the last one. Boxes have fractions of a
pixel, which Pillow resamples exactly; FFmpeg's `zoompan` rounds them, so that its videos shake.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.options.images import ImageOptions

_TRIES = 64


@dataclass(frozen=True)
class Box:
    """A part of a picture, in its pixels; (0, 0) is the picture's corner, not a pixel's centre."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    def corners(self) -> list[tuple[float, float]]:
        """All four, (x, y)."""
        return [(x, y) for x in (self.left, self.right) for y in (self.top, self.bottom)]

    def toward(self, other: Box, share: float) -> Box:
        """The box whose corners are that share of the way to another's."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Box(*((1 - share) * mine + share * its for mine, its in pairs))

    def shrunk(self, factor: float) -> Box:
        """The same part of the picture reduced by a factor."""
        return Box(*(edge / factor for edge in vars(self).values()))


@dataclass(frozen=True)
class Room:
    """Where boxes may be.

    Attributes:
        picture: (width, height) in pixels.
        video: (width, height) in pixels; no box is smaller.
        zoom: largest box over the smallest.
    """

    picture: tuple[int, int]
    video: tuple[int, int]
    zoom: float

    @property
    def widths(self) -> tuple[float, float]:
        """The smallest and the largest box; the former is larger where none fits."""
        (width, height), (wide, high) = self.picture, self.video
        largest = min(width, height * wide / high)
        return max(wide, largest / self.zoom), largest

    def box(self, width: float, x: float, y: float) -> Box:
        """The box of a width at a place: 0 is the left or top edge, 1 the right or bottom one."""
        height = width * self.video[1] / self.video[0]
        left, top = x * max(0.0, self.picture[0] - width), y * max(0.0, self.picture[1] - height)
        right, bottom = min(left + width, self.picture[0]), min(top + height, self.picture[1])
        return Box(left, top, right, bottom)

    def any_box(self, random: Random) -> Box:
        """A box of random size and place."""
        low, high = self.widths
        width = low * (high / low) ** random.random()
        return self.box(width, random.random(), random.random())

    def farthest(self) -> tuple[Box, Box]:
        """The two boxes between which the corners move the most."""
        low, high = self.widths
        small = self.box(low, 0, 0)
        others = (self.box(low, 1, 1), self.box(high, 1, 1))
        return small, max(others, key=lambda other: self.speed(small, other, 2))

    def speed(self, first: Box, last: Box, frames: int) -> float:
        """Pixels of the video per frame that the quickest corner moves."""
        corners = zip(first.corners(), last.corners(), strict=True)
        way = max(math.dist(start, end) for start, end in corners)
        return way / (frames - 1) * self.video[0] / min(first.width, last.width)


def draw(picture: tuple[int, int], options: ImageOptions, random: Random) -> tuple[Box, Box] | None:
    """The first and the last box of a video, inside a picture of (width, height) pixels.

    Returns:
        None where the picture is too small for the slowest movement.
    """
    room, (slowest, fastest) = Room(picture, options.shape, options.zoom), options.speeds
    low, high = room.widths
    if low > high:
        return None
    for pair in (*((room.any_box(random), room.any_box(random)) for _ in range(_TRIES)), None):
        first, last = pair or room.farthest()
        speed = room.speed(first, last, options.frames)
        if speed > fastest:  # the larger box comes nearer: so the way alone changes the speed
            share, speed = fastest / speed, fastest
            if first.width <= last.width:
                last = first.toward(last, share)
            else:
                first = last.toward(first, share)
        if speed >= slowest:
            return first, last
    return None


def boxes(first: Box, last: Box, count: int) -> list[Box]:
    """The box of each frame, from the first to the last one."""
    return [first.toward(last, k / (count - 1)) for k in range(count)]


def views(
    picture: Image.Image, seen: list[Box], shape: tuple[int, int]
) -> Iterator[NDArray[np.uint8]]:
    """What is in each box, uint8 `[H, W, 3]`, resampled with an antialiasing cubic filter.

    Args:
        picture: RGB.
        seen: boxes inside the picture.
        shape: (width, height) of the views.
    """
    width, height = picture.size
    for box in seen:
        edges = (box.left, box.top, min(box.right, width), min(box.bottom, height))
        yield np.asarray(picture.resize(shape, Image.Resampling.BICUBIC, edges))
