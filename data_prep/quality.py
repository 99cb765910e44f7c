"""Scores of a few evenly spaced pictures of a video: sharpness, watermark suspicion, hashes.

All work on the pictures that the content score is computed on (long side at most 256 pixels), so
that videos of different sizes compare.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]

BLACK_VALUE = 8.0
"""A picture whose mean value (the V of HSV, in [0, 255]) is below this counts as black."""

FROZEN_SCORE = 0.05
"""A picture whose content score is below this repeats the one before."""

HASHED = (1 / 6, 3 / 6, 5 / 6)
"""Where in a video its pictures are hashed."""

_CHANGING = 6.0  # grey levels of standard deviation over time: the picture changes here
_NEIGHBOURHOOD = 31  # pixels
_SURROUNDED = 0.6  # share of the neighbourhood that must change; below it a border would count
_EDGE = 4.0  # grey levels a pixel: a gradient of this size is an edge
_STATIC = 0.8  # share of a gradient's energy that its temporal mean must hold


class EvenSample:
    """Keeps at most `limit` evenly spaced pictures of a stream of any length, as grey pictures.

    Every `stride`-th picture is kept; when there are too many, every second is dropped and the
    stride doubled.

    Args:
        expected: pictures to come, as far as known; a first guess that saves work.
        limit: even, at least 2.

    Attributes:
        pictures: uint8 `[H, W]`, in order.
    """

    def __init__(self, expected: int = 0, limit: int = 16) -> None:
        self.pictures: list[Grey] = []
        self._limit = limit
        self._stride = max(1, -(-expected // limit))
        self._offered = 0

    def offer(self, picture: NDArray[np.uint8]) -> None:
        """Show the next picture, BGRA uint8 `[H, W, 4]`."""
        if self._offered % self._stride == 0 and len(self.pictures) == self._limit:
            del self.pictures[1::2]
            self._stride *= 2
        if self._offered % self._stride == 0:
            self.pictures.append(cv2.cvtColor(picture, cv2.COLOR_BGRA2GRAY))  # type: ignore[arg-type]
        self._offered += 1


def sharpness(pictures: Sequence[Grey]) -> float:
    """Mean over pictures of the variance of the Laplacian: low for blur (Pech-Pacheco 2000)."""
    variances = []
    for picture in pictures:
        _, deviation = cv2.meanStdDev(cv2.Laplacian(picture, cv2.CV_16S))
        variances.append(float(deviation[0, 0]) ** 2)
    return float(np.mean(variances))


def watermark(pictures: Sequence[Grey]) -> float | None:
    """Share of the changing part of the video that edges cover which never change, in [0, 1].

    An overlay (a logo, the text across a stock video) has edges that stay put while the picture
    behind it moves; everything else that stands still stands in a still neighbourhood, which does
    not count. None where less than a twentieth of the picture changes or there are fewer than 4
    pictures: an overlay cannot be told from the scene then.
    """
    if len(pictures) < 4:
        return None
    stack = np.stack(pictures).astype(np.float32)
    changing = (stack.std(axis=0) > _CHANGING).astype(np.float32)
    surrounded = cv2.boxFilter(changing, -1, (_NEIGHBOURHOOD, _NEIGHBOURHOOD)) > _SURROUNDED
    area = int(surrounded.sum())
    if area < surrounded.size / 20:
        return None
    return int((_static_edges(stack) & surrounded).sum()) / area


def _static_edges(stack: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where `[T, H, W]` has edges that are the same at all times, `[H, W]`.

    The energy of a gradient over time splits into that of its mean and its variance. Independent
    gradients would leave 1/T of theirs in the mean, which is taken off.
    """
    count = len(stack)
    mean = np.zeros(stack.shape[1:], np.float32)
    energy = np.zeros_like(mean)
    for dx, dy in ((1, 0), (0, 1)):
        gradients = [cv2.Sobel(picture, cv2.CV_32F, dx, dy, scale=1 / 8) for picture in stack]
        total = np.sum(gradients, axis=0)
        mean += (total / count) ** 2
        energy += np.sum(np.square(gradients), axis=0) / count
    static = mean - (energy - mean) / (count - 1)
    return (static > _STATIC * energy) & (mean > _EDGE**2)


def perceptual_hash(pictures: Sequence[Grey]) -> str:
    """ImageHash's 64-bit `phash` of three pictures (at `HASHED`), 48 hexadecimal digits.

    Copies of a video in other sizes and codecs differ in a few of the 192 bits.
    """
    chosen = (pictures[int(share * len(pictures))] for share in HASHED)
    return "".join(str(imagehash.phash(Image.fromarray(picture))) for picture in chosen)
