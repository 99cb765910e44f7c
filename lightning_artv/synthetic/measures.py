"""What a generated clip of moving shapes shows, measured from its pixels against the truth.

Shapes are found by hue, since backgrounds are grey or nearly so. A word is None where it cannot be
told: a world's moving shape may be behind the other one for longer than a clip. Whoever counts
should therefore ask what the same measure says of the true video, and leave out the clips where it
says None.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_artv.synthetic.drawing import COLORS, DIRECTIONS, SHAPES, Image, area, coverage
from lightning_artv.synthetic.scenes import Scene
from lightning_artv.synthetic.torus import Torus

MAX_PSNR = 100.0
"""dB, reported for identical pictures (their PSNR is infinite, which JSON cannot hold)."""

WORDS = ("direction", "speed", "color", "shape")
WINDOW = 16
"""Frames in which motion is measured."""

_LEAST_SHARE = 0.5  # of a pixel, for it to belong to a shape
_LEAST_AREA = 0.015  # of the picture; true shapes cover 0.05 to 0.09
_REACH = 0.25  # of the picture's size, around the shape's mean position; specks beyond are noise
_ENOUGH = 0.6  # of the shape's area: less is a half hidden shape, whose mean position is off
_TOUCH = 0.25  # of a pixel beside a shape: as much of the other one touches it
_LEAST_FRAMES = 3
_LEAST_SPAN = 5  # frames between the first and the last one of a motion
_MOST_GAP = 11  # frames out of sight, in which no shape gets half way round the torus
_MOST_SCATTER = 3.0  # pixels at a size of 32, about the line: more is no motion along a line
_LEAST_SPEED = 0.15  # pixels per frame at a size of 32; true shapes move 0.6 to 1.4
_SPEED_FACTOR = 1.6
_UNIT = 32

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClipMeasures:
    """A clip against its world.

    Attributes:
        psnr: PSNR per frame, dB, at most `MAX_PSNR`.
        background_psnr: by frame, over the pixels that no true shape touches (mover and obstacle
            cover less than 0.01 of them); trails and shapes in the wrong place lower it.
        direction: the main axis of motion, a key of `DIRECTIONS`, or None.
        speed: the nearer of the world's words by ratio, None beyond a factor of 1.6 from either.
        color: colour of the moving shape: the best supported one that is not the obstacle's; or
            None.
        shape: the silhouette of most frames in which nothing hides it; or None.
        places: by frame, centre (x, y) of the moving shape in pixels; None where not enough of it
            is seen.
    """

    psnr: tuple[float, ...]
    background_psnr: tuple[float, ...]
    direction: str | None
    speed: str | None
    color: str | None
    shape: str | None
    places: tuple[tuple[float, float] | None, ...]


def psnr(frame: Image, truth: Image, where: NDArray[np.bool_] | None = None) -> float:
    """Peak signal-to-noise ratio of uint8 pictures `[H, W, 3]` in dB, at most `MAX_PSNR`.

    Args:
        where: `[H, W]`, the pixels to compare; None for all.
    """
    difference = frame.astype(np.float64) - truth.astype(np.float64)
    error = float(np.mean(np.square(difference if where is None else difference[where])))
    return MAX_PSNR if error == 0 else min(MAX_PSNR, 10 * float(np.log10(255.0**2 / error)))


def measure_clip(frames: Image, world: Torus, start: int = 0, stride: int = 1) -> ClipMeasures:
    """Compare one window of frames with the world that it should show.

    Args:
        frames: uint8 `[T, H, W, 3]`; the words are of all T frames, so T is usually `WINDOW`.
        world: the truth.
        start: the world's frame that `frames[0]` should equal.
        stride: how many frames of the world pass from one to the next.

    Raises:
        ValueError: the frames are not uint8, or not of the world's size.
    """
    check_clip(frames, world.size)
    times = range(start, start + stride * len(frames), stride)
    truths = [world.render(t) for t in times]
    untouched = [(world.cover(t) < 0.01) & (world.obstacle_cover(t) < 0.01) for t in times]
    mover = _track(frames, world)
    direction, speed = _motion(mover, world, stride)
    return ClipMeasures(
        psnr=tuple(map(psnr, frames, truths)),
        background_psnr=tuple(map(psnr, frames, truths, untouched)),
        direction=direction,
        speed=speed,
        color=mover.color,
        shape=_shape(mover, world.size),
        places=tuple(
            (float(x), float(y)) if seen else None
            for (x, y), seen in zip(mover.places, mover.seen, strict=True)
        ),
    )


def check_clip(frames: Image, size: int) -> None:
    """Refuse frames that are not uint8 `[T, size, size, 3]` with a ValueError."""
    if frames.dtype != np.uint8 or frames.shape[1:] != (size, size, 3) or not len(frames):
        raise ValueError(
            f"Expected uint8 [T, {size}, {size}, 3], got {frames.dtype} {list(frames.shape)}."
        )


@dataclass(frozen=True)
class _Mover:
    """The moving shape in a window of T frames.

    Attributes:
        color: a palette word, or None where there is no such shape.
        shares: `[T, H, W]`, how much of each pixel has that colour, in [0, 1].
        places: `[T, 2]`, mean (x, y) on the torus, in pixels.
        seen: `[T]`, whether enough of it is visible for its place to be right.
        whole: `[T]`, whether it is there and nothing touches it.
    """

    color: str | None
    shares: Floats
    places: Floats
    seen: Flags
    whole: Flags


def _track(frames: Image, world: Torus) -> _Mover:
    """Find the moving shape: the best supported colour but the obstacle's."""
    shares = _shares_by_color(frames)
    least_seen = 0.5 if isinstance(world, Scene) else 0.0  # nothing can hide a scene's shape
    front = None if world.obstacle is None else world.obstacle.color
    pixels = {word: share >= _LEAST_SHARE for word, share in shares.items()}
    support = {word: int(found.sum()) for word, found in pixels.items() if word != front}
    color = max(support, key=lambda word: support[word])
    places, body = _places(pixels[color], world.size)
    around = grown(body)  # edges count; a tinted background does not
    silhouettes = shares[color] * around
    areas = silhouettes.sum((1, 2))
    there = areas >= _LEAST_AREA * world.size**2
    other = np.zeros_like(silhouettes) if front is None else shares[front]
    touched = np.any(around & (other >= _TOUCH), axis=(1, 2))
    whole = there & ~touched
    full = np.median(areas[whole]) if whole.any() else area(world.shape, world.radius)
    seen = there & (areas >= _ENOUGH * full)
    known = color if there.sum() >= max(_LEAST_FRAMES, least_seen * len(frames)) else None
    return _Mover(known, silhouettes, places, seen, whole)


def _shares_by_color(frames: Image) -> dict[str, Floats]:
    """Color word -> how much of each pixel it covers, `[T, H, W]` in [0, 1].

    A pixel belongs to the nearest hue alone. The colour of a blend with any grey, less its mean, is
    the palette colour's, less its mean, times the share.
    """
    palette = np.array(list(COLORS.values()), dtype=np.float64)
    hues = palette - palette.mean(1, keepdims=True)
    lengths = np.linalg.norm(hues, axis=1)
    colorful = frames.astype(np.float64)
    colorful -= colorful.mean(-1, keepdims=True)
    along = colorful @ (hues / lengths[:, None]).T  # [T, H, W, colors]
    nearest = along.argmax(-1)
    return {
        word: np.where(nearest == i, np.clip(along[..., i] / lengths[i], 0.0, 1.0), 0.0)
        for i, word in enumerate(COLORS)
    }


def _places(pixels: Flags, size: int) -> tuple[Floats, Flags]:
    """Mean place on the torus of each frame's pixels `[T, H, W]`, without specks far from it.

    Returns:
        (x, y) in pixels `[T, 2]`; the pixels that count, bool `[T, H, W]`.
    """
    near = pixels & (_distance(circular_mean(pixels, size), size) < _REACH * size)
    return circular_mean(near, size), near


def circular_mean(pixels: Flags, size: int) -> Floats:
    """Mean (x, y) on the torus of each frame's pixels `[T, H, W]`, in pixels `[T, 2]`."""
    turns = np.exp(2j * np.pi * (np.arange(size) + 0.5) / size)
    sums = np.stack([pixels.sum(1) @ turns, pixels.sum(2) @ turns], axis=1)
    return np.angle(sums) / (2 * np.pi) * size % size


def _distance(places: Floats, size: int) -> Floats:
    """From each place `[T, 2]` to each pixel on the torus, `[T, H, W]`."""
    apart = np.abs(np.arange(size) + 0.5 - places[..., None])
    apart = np.minimum(apart, size - apart)
    return np.hypot(apart[:, 0, None, :], apart[:, 1, :, None])


def grown(pixels: Flags) -> Flags:
    """The pixels and their eight neighbours on the torus."""
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return np.logical_or.reduce([np.roll(pixels, step, axis=(1, 2)) for step in steps])


def _motion(mover: _Mover, world: Torus, stride: int) -> tuple[str | None, str | None]:
    """Direction and speed of a least-squares line through the places, unwrapped."""
    times = np.flatnonzero(mover.seen)
    if mover.color is None or len(times) < _LEAST_FRAMES:
        return None, None
    path = np.unwrap(mover.places[times], period=world.size, axis=0)
    times = stride * times
    if times[-1] - times[0] < _LEAST_SPAN or np.diff(times).max() > _MOST_GAP:
        return None, None
    (velocity, _), squares, *_ = np.polyfit(times, path * (_UNIT / world.size), 1, full=True)
    if np.sqrt(squares.sum() / len(times)) > _MOST_SCATTER:
        return None, None
    speed = float(np.abs(velocity).max())
    if speed < _LEAST_SPEED:
        return None, None
    direction = max(DIRECTIONS, key=lambda word: float(np.dot(DIRECTIONS[word], velocity)))
    return direction, _speed_word(speed, world)


def _speed_word(speed: float, world: Torus) -> str | None:
    true = {word: world.step_of(word) * (_UNIT / world.size) for word in world.SPEEDS}
    ratios = {word: max(speed / step, step / speed) for word, step in true.items()}
    nearest = min(ratios, key=lambda word: ratios[word])
    return nearest if ratios[nearest] <= _SPEED_FACTOR else None


def _shape(mover: _Mover, size: int) -> str | None:
    """The silhouette of equal place and area that fits best in most frames."""
    times = np.flatnonzero(mover.whole)
    if mover.color is None or not len(times):
        return None
    votes = Counter(_silhouette(mover.shares[t], mover.places[t], size) for t in times)
    return votes.most_common(1)[0][0]


def _silhouette(share: Floats, place: Floats, size: int) -> str:
    x, y = place.tolist()

    def difference(shape: str) -> float:
        radius = float(np.sqrt(share.sum() / area(shape, 1.0)))
        return float(np.abs(coverage(shape, x, y, radius, size, wrap=True) - share).sum())

    return min(SHAPES, key=difference)
