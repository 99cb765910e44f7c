"""Boxes that move over a picture, and what is seen through them."""

from __future__ import annotations

import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.options.images import ImageOptions
from data_prep.shards.zoompan import Box, Room, boxes, draw, views

OPTIONS = st.builds(
    ImageOptions,
    size=st.integers(16, 400),
    aspect=st.floats(0.4, 2.5),
    seconds=st.floats(0.5, 4),
    fps=st.sampled_from([4.0, 8.0, 23.976]),
    zoom=st.floats(1, 5),
    speed=st.sampled_from([(0.5, 16.0), (2.0, 2.0), (None, None), (0.1, 1.0), (1.0, None)]),
)


@settings(max_examples=300, deadline=None)
@given(OPTIONS, st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 1000))
def test_every_box_is_inside_the_picture_and_no_smaller_than_the_video(
    options: ImageOptions, width: int, height: int, seed: int
) -> None:
    drawn = draw((width, height), options, Random(seed))
    wide, high = options.shape
    if width < wide or height < high:
        assert drawn is None
    if drawn is None:
        return
    seen = boxes(*drawn, options.frames)
    assert (seen[0], seen[-1]) == drawn
    for box in seen:
        assert 0 <= box.left < box.right and box.right <= width * (1 + 1e-12)
        assert 0 <= box.top < box.bottom and box.bottom <= height * (1 + 1e-12)
        assert box.width >= wide * (1 - 1e-9)
        assert box.width / (box.bottom - box.top) == pytest.approx(wide / high)
    widths = [box.width for box in seen]
    assert max(widths) / min(widths) <= options.zoom * (1 + 1e-9)
    slowest, fastest = options.speeds
    speed = Room((width, height), (wide, high), options.zoom).speed(*drawn, options.frames)
    assert slowest * (1 - 1e-9) <= speed <= fastest * (1 + 1e-9)


@settings(deadline=None)
@given(OPTIONS, st.integers(0, 1000))
def test_corners_move_linearly_in_time(options: ImageOptions, seed: int) -> None:
    drawn = draw((1600, 1200), options, Random(seed))
    if drawn is None:
        return
    edges = np.array([list(vars(box).values()) for box in boxes(*drawn, options.frames)])
    line = np.linspace(edges[0], edges[-1], options.frames)
    assert np.abs(edges - line).max() < 1e-9


def test_a_box_is_drawn_wherever_the_picture_has_room_for_the_slowest_movement() -> None:
    options = ImageOptions(size=64, speed=(1.0, None))  # 15 steps of a pixel
    assert draw((64, 64 + 14), options, Random(0)) is None
    assert draw((64, 64 + 15), options, Random(0)) is not None
    assert draw((64, 64), ImageOptions(size=64), Random(0)) is None


def test_boxes_differ_by_seed_and_fill_the_picture() -> None:
    options = ImageOptions(size=100, speed=(None, None))
    drawn = [draw((600, 400), options, Random(seed)) for seed in range(300)]
    ends = np.array([list(vars(box).values()) for pair in drawn if pair for box in pair])
    assert ends[:, 0].min() < 5 and ends[:, 2].max() > 595 and ends[:, 3].max() > 398
    widths = ends[:, 2] - ends[:, 0]
    assert 200 <= widths.min() < 205 and 395 < widths.max() <= 400  # zoom 2
    assert np.median(widths) == pytest.approx(200 * math.sqrt(2), rel=0.05)


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 40), st.integers(0, 30), st.integers(-2, 2), st.integers(-2, 2))
def test_a_pan_by_whole_pixels_is_a_crop(left: int, top: int, right: int, down: int) -> None:
    pixels, count = noise(120, 100), 5
    start = np.array([left + 10, top + 10])
    first = Box(*start, *(start + 48))
    end = start + (count - 1) * np.array([right, down])
    seen = boxes(first, Box(*end, *(end + 48)), count)
    for k, view in enumerate(views(Image.fromarray(pixels), seen, (48, 48))):
        x, y = start + k * np.array([right, down])
        assert np.array_equal(view, pixels[y : y + 48, x : x + 48])


def blob(width: int, height: int, x: float, y: float, radius: float) -> Image.Image:
    """A bright spot whose centre is at a fraction of a pixel."""
    columns, rows = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    level = 20 + 220 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))
    return Image.fromarray(np.repeat(np.round(level)[..., None], 3, 2).astype(np.uint8))


def centre(view: np.ndarray) -> np.ndarray:
    weight = view[..., 0].astype(float) - 20
    rows, columns = np.indices(weight.shape) + 0.5
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


PAN = ((30.2, 41.7, 100.0), (58.9, 50.3, 100.0))
SLOW = ((40.0, 40.0, 64.0), (42.5, 44.1, 64.0))
CLOSER = ((20.0, 20.0, 160.0), (50.4, 47.7, 100.0))
AWAY = ((66.3, 64.9, 70.0), (0.0, 3.3, 190.0))


@pytest.mark.parametrize("shrink", [1, 2, 3])
@pytest.mark.parametrize("ends", [PAN, SLOW, CLOSER, AWAY])
def test_a_spot_is_seen_where_it_is_in_every_frame(ends: tuple, shrink: int) -> None:
    """Within 0.05 pixels; rounded boxes would be off by up to half a pixel of the picture."""
    spot = np.array([100.3, 98.6]) * shrink
    if ends is SLOW:
        spot = np.array([73.2, 74.9]) * shrink
    picture = blob(200 * shrink, 200 * shrink, *spot, 6.0 * shrink)
    first, last = (Box(x, y, x + w, y + w).shrunk(1 / shrink) for x, y, w in ends)
    seen = boxes(first, last, 16)
    reduced = picture.reduce(shrink) if shrink > 1 else picture
    found = list(views(reduced, [box.shrunk(shrink) for box in seen], (64, 64)))
    for box, view in zip(seen, found, strict=True):
        wanted = (spot - [box.left, box.top]) * 64 / box.width
        assert np.abs(centre(view) - wanted).max() < 0.05
    assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(found))
