"""Scores of a few evenly spaced pictures of a video: sharpness, watermark suspicion, hashes.

All work on the pictures that the content score is computed on (long side at most 256 pixels), so
that videos of different sizes compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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

_HASH_SIDE = 64  # pixels; whole blocks are averaged first, which costs a third of the filter alone

_CHANGING = 8  # grey levels between neighbouring samples, on average: the picture changes here
_STROKE = 9  # pixels; thinner parts that do not change belong to the overlay
_MARGIN = 13  # pixels; nearer to what does not change, edges do not count
_EDGE = 4  # grey levels a pixel: a gradient of this size is an edge
_STATIC = 0.4  # of its size, by which the gradient of an overlay's edge may vary
_STILL_CAMERA = 0.25  # share of static edges among all, from which the scene itself stands still


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
        """Show the next picture, BGR uint8 `[H, W, 3 or 4]`."""
        if self._offered % self._stride == 0 and len(self.pictures) == self._limit:
            del self.pictures[1::2]
            self._stride *= 2
        if self._offered % self._stride == 0:
            self.pictures.append(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))  # type: ignore[arg-type]
        self._offered += 1


def sharpness(pictures: Sequence[Grey]) -> float:
    """Mean over pictures of the variance of the Laplacian: low for blur (Pech-Pacheco 2000)."""
    variances = []
    for picture in pictures:
        edges = cv2.Laplacian(picture, cv2.CV_16S)
        # sums of integers: exact, and five times as fast as cv2.meanStdDev
        total, squares = cv2.sumElems(edges)[0], cv2.norm(edges, cv2.NORM_L2SQR)
        variances.append(squares / edges.size - (total / edges.size) ** 2)
    return float(np.mean(variances))


def watermark(pictures: Sequence[Grey]) -> float | None:
    """Share of the changing part of the picture that edges cover which never change, in [0, 1].

    An overlay (a logo, the text across a stock video) has edges that stay put while the picture
    behind them changes. None where it cannot be told from the scene: the camera stands still (more
    than a quarter of all edges are static), hardly anything changes, or there are fewer than 4
    pictures. A small logo on a plain sky is missed: nothing changes around it.
    """
    if len(pictures) < 4:
        return None
    edges, static, changing = _edges_and_changes(pictures)
    if np.count_nonzero(static) > _STILL_CAMERA * np.count_nonzero(edges):
        return None
    filled = cv2.morphologyEx(changing, cv2.MORPH_CLOSE, np.ones((_STROKE, _STROKE), np.uint8))
    inside = cv2.erode(filled, np.ones((_MARGIN, _MARGIN), np.uint8)) > 0
    area = np.count_nonzero(inside)
    if area < inside.size / 20:
        return None
    return float(np.count_nonzero(static & inside) / area)


def _edges_and_changes(
    pictures: Sequence[Grey],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Grey]:
    """`[H, W]` each: where edges are, which of them are static, and what changes (0 or 1)."""
    # 16 bits hold the sums of 16 pictures: OpenCV's additions saturate, where nothing is decided
    nothing = np.zeros(pictures[0].shape, np.int16)
    size, variation, change = (nothing.copy() for _ in range(3))
    last: tuple[Any, ...] = ()
    for picture in pictures:
        now: tuple[Any, ...] = (*cv2.spatialGradient(picture), picture.astype(np.int16))
        for gradient in now[:2]:
            cv2.add(size, cv2.absdiff(gradient, nothing), dst=size)
        if last:
            for gradient, before in zip(now[:2], last[:2], strict=True):
                cv2.add(variation, cv2.absdiff(gradient, before), dst=variation)
            cv2.add(change, cv2.absdiff(now[2], last[2]), dst=change)
        last = now
    count = len(pictures)
    edges = size > 8 * _EDGE * count
    static = edges & (variation < np.float32(_STATIC * (count - 1) / count) * size)
    return edges, static, (change > _CHANGING * (count - 1)).astype(np.uint8)


def perceptual_hash(pictures: Sequence[Grey]) -> str:
    """ImageHash's 64-bit `phash` of three pictures (at `HASHED`), 48 hexadecimal digits.

    The pictures are averaged over whole blocks before, down to at least 64 pixels a side. Copies of
    a video in other sizes and codecs differ in a few of the 192 bits.
    """
    height, width = pictures[0].shape
    blocks = max(1, width // _HASH_SIDE), max(1, height // _HASH_SIDE)
    chosen = (Image.fromarray(pictures[int(share * len(pictures))]) for share in HASHED)
    return "".join(str(imagehash.phash(picture.reduce(blocks))) for picture in chosen)
