"""Which words describe a clip of a plain scene whose positions and background are not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_artv.synthetic.drawing import COLORS, DIRECTIONS, SHAPES, Image, area, coverage
from lightning_artv.synthetic.measures import check_clip
from lightning_artv.synthetic.scenes import BACKGROUNDS, background_rows

_FAR = 50.0  # RGB distance from the background at which a pixel counts as the object's
_NEAREST_COLOR = 120.0  # an object farther than this from every palette colour has none of them
_LEAST_AREA, _MOST_AREA = 0.015, 0.25  # of the picture; true objects cover 0.05 to 0.08
_LEAST_MOVE = 0.1  # of the picture's size over the clip; true objects move 0.28 or more
_REACH = 0.25  # of the picture's size, around the object's median position; specks beyond are noise


@dataclass(frozen=True)
class CaptionMeasures:
    """The caption's words as a clip shows them; None for a word that cannot be told."""

    direction: str | None
    color: str | None
    shape: str | None
    background: str | None


@dataclass(frozen=True)
class _Object:
    """A segmented object: centre (x, y) in pixels, median RGB, and the pixels it occupies `[H,
    W]`.
    """

    x: float
    y: float
    color: NDArray[np.float64]
    pixels: NDArray[np.bool_]


def measure_from_caption(
    frames: Image, palette: Mapping[str, tuple[int, int, int]] = COLORS
) -> CaptionMeasures:
    """Which words describe a clip whose positions and background are not known.

    The background of a row is its median colour: an object is never wider than half the picture,
    and backgrounds vary from row to row only. An object may leave the picture on one side and come
    in on the other, as in worlds.

    Args:
        frames: uint8 `[T, H, W, 3]`.
        palette: the colours that an object may have.

    Returns:
        the words, None where the object is lost or a word does not apply.

    Raises:
        ValueError: the frames are not square uint8 pictures.
    """
    check_clip(frames, frames.shape[1])
    rows = np.median(frames.astype(np.float64), axis=2)
    objects = [_segment(frame, row[:, None]) for frame, row in zip(frames, rows, strict=True)]
    shapes = [
        _shape(frame, row[:, None], found)
        for frame, row, found in zip(frames, rows, objects, strict=True)
    ]
    return CaptionMeasures(
        direction=_direction(objects, frames.shape[1]),
        color=_majority([_color(found, palette) for found in objects]),
        shape=_majority(shapes),
        background=_majority([_background(row) for row in rows]),
    )


def _segment(frame: Image, background: NDArray[np.float64]) -> _Object | None:
    """The object: pixels far from the background, near their median position."""
    size = frame.shape[0]
    far = np.linalg.norm(frame.astype(np.float64) - background, axis=-1) > _FAR
    if not far.any():
        return None
    rows, columns = np.nonzero(far)
    near = np.hypot(rows - np.median(rows), columns - np.median(columns)) < _REACH * size
    rows, columns = rows[near], columns[near]
    if not _LEAST_AREA <= len(rows) / size**2 <= _MOST_AREA:
        return None
    pixels = np.zeros_like(far)
    pixels[rows, columns] = True
    color = np.median(frame[pixels].astype(np.float64), axis=0)
    return _Object(float(columns.mean()) + 0.5, float(rows.mean()) + 0.5, color, pixels)


def _direction(objects: Sequence[_Object | None], size: int) -> str | None:
    """The main axis of the object's velocity: the median slope over all pairs of frames
    (Theil-Sen), which a few wrongly segmented frames do not move.

    Args:
        objects: one per frame; of two ways from place to place the shorter one was taken.
        size: size of the picture, in pixels.
    """
    track = [(t, found.x, found.y) for t, found in enumerate(objects) if found is not None]
    if len(track) < 2 or 2 * len(track) < len(objects):
        return None
    times, *axes = np.array(track).T
    axes = [np.unwrap(axis, period=size) for axis in axes]
    earlier, later = np.triu_indices(len(track), k=1)
    elapsed = times[later] - times[earlier]
    velocity = [float(np.median((axis[later] - axis[earlier]) / elapsed)) for axis in axes]
    if max(map(abs, velocity)) * (len(objects) - 1) < _LEAST_MOVE * size:
        return None
    return max(DIRECTIONS, key=lambda word: float(np.dot(DIRECTIONS[word], velocity)))


def _color(found: _Object | None, palette: Mapping[str, tuple[int, int, int]]) -> str | None:
    if found is None:
        return None
    distances = {
        word: float(np.linalg.norm(found.color - np.array(rgb))) for word, rgb in palette.items()
    }
    nearest = min(distances, key=lambda word: distances[word])
    return nearest if distances[nearest] < _NEAREST_COLOR else None


def _shape(frame: Image, background: NDArray[np.float64], found: _Object | None) -> str | None:
    """The shape whose silhouette of equal area and centre differs least from the object's."""
    if found is None:
        return None
    contrast = found.color - background
    along = np.sum((frame - background) * contrast, axis=-1)
    strength = np.sum(contrast**2, axis=-1)  # 0 in a row whose background has the object's colour
    share = np.divide(along, strength, out=np.zeros_like(along), where=strength > 0)
    silhouette = np.clip(share, 0.0, 1.0) * _grown(found.pixels)
    total = silhouette.sum()
    size = frame.shape[0]
    centres = np.arange(size) + 0.5
    x = float((silhouette.sum(0) * centres).sum() / total)
    y = float((silhouette.sum(1) * centres).sum() / total)

    def difference(shape: str) -> float:
        radius = float(np.sqrt(total / area(shape, 1.0)))
        return float(np.abs(coverage(shape, x, y, radius, size) - silhouette).sum())

    return min(SHAPES, key=difference)


def _grown(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels and their eight neighbours, so that faint edges count."""
    padded = np.pad(pixels, 1)
    size = pixels.shape[0]
    shifts = [padded[i : i + size, j : j + size] for i in range(3) for j in range(3)]
    return np.logical_or.reduce(shifts)


def _background(rows: NDArray[np.float64]) -> str:
    """The background whose rows `[H, 3]` are nearest."""
    return min(
        BACKGROUNDS, key=lambda word: float(np.abs(background_rows(word, len(rows)) - rows).mean())
    )


def _majority(words: Sequence[str | None]) -> str | None:
    """The most frequent word; None where the object is lost in more than half of the frames."""
    votes = Counter(word for word in words if word is not None)
    if 2 * votes.total() < len(words) or not votes:
        return None
    return votes.most_common(1)[0][0]
