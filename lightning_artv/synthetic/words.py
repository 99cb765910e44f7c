"""Which words describe a clip of a plain scene whose positions and background are not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_artv.synthetic.drawing import COLORS, DIRECTIONS, SHAPES, Image, area, coverage
from lightning_artv.synthetic.measures import check_clip, circular_mean, grown
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
class _View:
    """A frame on a torus, moved so that its object is in the middle and in one piece.

    Attributes:
        frame: float64 `[H, W, 3]`.
        background: `[H, 1, 3]`.
        far: which pixels are far from the background, `[H, W]`.
        moved: by how many pixels (x, y).
    """

    frame: NDArray[np.float64]
    background: NDArray[np.float64]
    far: NDArray[np.bool_]
    moved: tuple[int, int]

    @classmethod
    def of(cls, frame: Image, background: NDArray[np.float64]) -> _View:
        pixels = frame.astype(np.float64)
        far = np.linalg.norm(pixels - background, axis=-1) > _FAR
        size = len(far)
        x, y = (round(size / 2 - mean) for mean in circular_mean(far[None], size)[0].tolist())
        return cls(
            np.roll(pixels, (y, x), (0, 1)),
            np.roll(background, y, 0),
            np.roll(far, (y, x), (0, 1)),
            (x, y),
        )


@dataclass(frozen=True)
class _Object:
    """A segmented object: centre (x, y) in pixels of the frame, from 0 to its size; median RGB; and
    the pixels of the view that it occupies `[H, W]`.
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
    views = [_View.of(frame, row[:, None]) for frame, row in zip(frames, rows, strict=True)]
    objects = [_segment(view) for view in views]
    shapes = [_shape(view, found) for view, found in zip(views, objects, strict=True)]
    return CaptionMeasures(
        direction=_direction(objects, frames.shape[1]),
        color=_majority([_color(found, palette) for found in objects]),
        shape=_majority(shapes),
        background=_majority([_background(row) for row in rows]),
    )


def _segment(view: _View) -> _Object | None:
    """The object: pixels far from the background, near their median position."""
    size = len(view.frame)
    if not view.far.any():
        return None
    rows, columns = np.nonzero(view.far)
    near = np.hypot(rows - np.median(rows), columns - np.median(columns)) < _REACH * size
    rows, columns = rows[near], columns[near]
    if not _LEAST_AREA <= len(rows) / size**2 <= _MOST_AREA:
        return None
    pixels = np.zeros_like(view.far)
    pixels[rows, columns] = True
    x, y = (float(c.mean()) + 0.5 - m for c, m in zip((columns, rows), view.moved, strict=True))
    return _Object(x % size, y % size, np.median(view.frame[pixels], axis=0), pixels)


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


def _shape(view: _View, found: _Object | None) -> str | None:
    """The shape whose silhouette of equal area and centre differs least from the object's."""
    if found is None:
        return None
    contrast = found.color - view.background
    along = np.sum((view.frame - view.background) * contrast, axis=-1)
    strength = np.sum(contrast**2, axis=-1)  # 0 in a row whose background has the object's colour
    share = np.divide(along, strength, out=np.zeros_like(along), where=strength > 0)
    silhouette = np.clip(share, 0.0, 1.0) * grown(found.pixels[None])[0]
    total = silhouette.sum()
    size = len(view.frame)
    centres = np.arange(size) + 0.5
    x = float((silhouette.sum(0) * centres).sum() / total)
    y = float((silhouette.sum(1) * centres).sum() / total)

    def difference(shape: str) -> float:
        radius = float(np.sqrt(total / area(shape, 1.0)))
        return float(np.abs(coverage(shape, x, y, radius, size) - silhouette).sum())

    return min(SHAPES, key=difference)


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
