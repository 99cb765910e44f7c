"""What a generated moving-shapes clip shows, measured from its pixels.

`measure_clip` compares with the `Scene` that the clip should show; `measure_from_caption` knows
nothing of positions and background, for clips made from a caption alone. Both answer None where the
object is lost or a word does not apply.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_artv.synthetic.scenes import (
    BACKGROUNDS,
    COLORS,
    DIRECTIONS,
    SHAPES,
    Image,
    Scene,
    area,
    background_rows,
    coverage,
)

MAX_PSNR = 100.0
"""dB, reported for identical pictures (their PSNR is infinite, which JSON cannot hold)."""

_FAR = 50.0  # RGB distance from the background at which a pixel counts as the object's
_NEAREST_COLOR = 120.0  # an object farther than this from every palette colour has none of them
_LEAST_AREA, _MOST_AREA = 0.015, 0.25  # of the picture; true objects cover 0.05 to 0.08
_LEAST_MOVE = 0.1  # of the picture's size over the clip; true objects move 0.28 or more
_REACH = 0.25  # of the picture's size, around the object's median position; specks beyond are noise


@dataclass(frozen=True)
class ClipMeasures:
    """A clip against its scene.

    Attributes:
        psnr: by frame, dB, at most `MAX_PSNR`.
        background_psnr: by frame, over the pixels that the true object does not touch.
        direction: the word of the main axis of motion, or None.
        color: the palette word of most frames, or None.
    """

    psnr: tuple[float, ...]
    background_psnr: tuple[float, ...]
    direction: str | None
    color: str | None


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


def psnr(frame: Image, truth: Image, where: NDArray[np.bool_] | None = None) -> float:
    """Peak signal-to-noise ratio of uint8 pictures `[H, W, 3]` in dB, at most `MAX_PSNR`.

    Args:
        where: `[H, W]`, the pixels to compare; None for all.
    """
    difference = frame.astype(np.float64) - truth.astype(np.float64)
    error = float(np.mean(np.square(difference if where is None else difference[where])))
    return MAX_PSNR if error == 0 else min(MAX_PSNR, 10 * float(np.log10(255.0**2 / error)))


def measure_clip(frames: Image, scene: Scene, start: int = 0) -> ClipMeasures:
    """Compare a clip with the scene that it should show.

    Args:
        frames: uint8 `[T, H, W, 3]`.
        scene: the truth.
        start: the scene's frame that `frames[0]` should equal; 1 leaves out a given first frame.

    Raises:
        ValueError: the frames are not uint8, or not of the scene's size.
    """
    _check(frames, scene.size)
    truths = [scene.render(start + t) for t in range(len(frames))]
    untouched = [scene.cover(start + t) < 0.01 for t in range(len(frames))]
    background = scene.background_image().astype(np.float64)
    objects = [_segment(frame, background) for frame in frames]
    return ClipMeasures(
        psnr=tuple(map(psnr, frames, truths)),
        background_psnr=tuple(map(psnr, frames, truths, untouched)),
        direction=_direction(objects, scene.size),
        color=_majority([_color(found) for found in objects]),
    )


def measure_from_caption(frames: Image) -> CaptionMeasures:
    """Which words describe a clip whose positions and background are not known.

    The background of a row is its median colour: an object is never wider than half the picture,
    and backgrounds vary from row to row only. An object may leave the picture on one side and come
    in on the other, as in worlds.

    Args:
        frames: uint8 `[T, H, W, 3]`.

    Raises:
        ValueError: the frames are not square uint8 pictures.
    """
    _check(frames, frames.shape[1])
    rows = np.median(frames.astype(np.float64), axis=2)
    objects = [_segment(frame, row[:, None]) for frame, row in zip(frames, rows, strict=True)]
    shapes = [
        _shape(frame, row[:, None], found)
        for frame, row, found in zip(frames, rows, objects, strict=True)
    ]
    return CaptionMeasures(
        direction=_direction(objects, frames.shape[1], wraps=True),
        color=_majority([_color(found) for found in objects]),
        shape=_majority(shapes),
        background=_majority([_background(row) for row in rows]),
    )


def _check(frames: Image, size: int) -> None:
    if frames.dtype != np.uint8 or frames.shape[1:] != (size, size, 3) or not len(frames):
        raise ValueError(
            f"Expected uint8 [T, {size}, {size}, 3], got {frames.dtype} {list(frames.shape)}."
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


def _direction(objects: Sequence[_Object | None], size: int, wraps: bool = False) -> str | None:
    """The main axis of the object's velocity: the median slope over all pairs of frames
    (Theil-Sen), which a few wrongly segmented frames do not move.

    Args:
        objects: one per frame.
        size: of the picture, in pixels.
        wraps: of two ways from place to place, one over the border, the shorter one was taken.
    """
    track = [(t, found.x, found.y) for t, found in enumerate(objects) if found is not None]
    if len(track) < 2 or 2 * len(track) < len(objects):
        return None
    times, *axes = np.array(track).T
    if wraps:
        axes = [np.unwrap(axis, period=size) for axis in axes]
    earlier, later = np.triu_indices(len(track), k=1)
    elapsed = times[later] - times[earlier]
    velocity = [float(np.median((axis[later] - axis[earlier]) / elapsed)) for axis in axes]
    if max(map(abs, velocity)) * (len(objects) - 1) < _LEAST_MOVE * size:
        return None
    return max(DIRECTIONS, key=lambda word: float(np.dot(DIRECTIONS[word], velocity)))


def _color(found: _Object | None) -> str | None:
    if found is None:
        return None
    distances = {
        word: float(np.linalg.norm(found.color - np.array(rgb))) for word, rgb in COLORS.items()
    }
    nearest = min(distances, key=lambda word: distances[word])
    return nearest if distances[nearest] < _NEAREST_COLOR else None


def _shape(frame: Image, background: NDArray[np.float64], found: _Object | None) -> str | None:
    """The shape whose silhouette of equal area and centre differs least from the object's."""
    if found is None:
        return None
    contrast = found.color - background
    share = np.sum((frame - background) * contrast, axis=-1) / np.sum(contrast**2, axis=-1)
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
