"""Worlds' measures: right on the truth wherever it can be told, wrong where the clip is wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_artv.synthetic.drawing import COLORS, SHAPES
from lightning_artv.synthetic.measures import MAX_PSNR, WINDOW, WORDS, ClipMeasures, measure_clip
from lightning_artv.synthetic.torus import Obstacle
from lightning_artv.synthetic.worlds import World, world_at

PLAIN = World(
    color="red",
    shape="circle",
    direction="right",
    speed="slowly",
    texture="bricks",
    tint=(120, 124, 118),
    phase=(3, 5),
    pan="still",
    obstacle=None,
    x=28.0,
    y=31.5,
    radius=4.0,
)
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}


def clip(world: World, start: int = 0, frames: int = WINDOW) -> np.ndarray:
    return np.stack([world.render(t) for t in range(start, start + frames)])


def words(measured: ClipMeasures) -> tuple[str | None, ...]:
    return tuple(getattr(measured, word) for word in WORDS)


def right(world: World) -> tuple[str, ...]:
    return tuple(getattr(world, word) for word in WORDS)


@pytest.mark.parametrize(("start", "least_told"), [(0, 0.97), (112, 0.85)])
def test_the_truth_is_recognised_wherever_it_can_be_told(start: int, least_told: float) -> None:
    worlds = [world_at(i, seed=5, split="heldout") for i in range(80)]
    measured = [measure_clip(clip(world, start), world, start) for world in worlds]
    for position, word in enumerate(WORDS):
        told = [
            (words(m)[position], right(w)[position]) for m, w in zip(measured, worlds, strict=True)
        ]
        told = [(shown, true) for shown, true in told if shown is not None]
        assert len(told) >= least_told * len(worlds)
        assert all(shown == true for shown, true in told), word
    for m in measured:
        assert set(m.psnr + m.background_psnr) == {MAX_PSNR}


@pytest.mark.parametrize("index", range(12))
def test_noise_and_faded_colours_change_no_word(index: int) -> None:
    world = world_at(index, seed=5, split="heldout")
    frames = clip(world).astype(np.float64)
    noise = np.random.default_rng(index).normal(0, 8, frames.shape)
    faded = frames.mean(-1, keepdims=True) * 0.2 + frames * 0.8
    sharp = measure_clip(clip(world), world)
    changed = measure_clip(np.clip(faded + noise, 0, 255).astype(np.uint8), world)
    assert words(changed) == words(sharp)
    assert max(changed.psnr) < 35


@settings(max_examples=15, deadline=None)
@given(
    index=st.integers(0, 10_000),
    down=st.integers(0, 31),
    across=st.integers(0, 31),
)
def test_words_do_not_depend_on_where_the_torus_is_cut(index: int, down: int, across: int) -> None:
    world = world_at(index, seed=6, split="train")
    frames = clip(world)
    moved = np.roll(frames, (down, across), axis=(1, 2))
    assert words(measure_clip(moved, world)) == words(measure_clip(frames, world))


@settings(max_examples=15, deadline=None)
@given(index=st.integers(0, 10_000))
def test_backwards_is_the_opposite_direction_at_the_same_speed(index: int) -> None:
    world = world_at(index, seed=6, split="train")
    forwards, backwards = (measure_clip(f, world) for f in (clip(world), clip(world)[::-1]))
    if forwards.direction is not None:
        assert backwards.direction == OPPOSITE[world.direction]
    assert (backwards.speed, backwards.color) == (forwards.speed, forwards.color)


@pytest.mark.parametrize("stride", [2, 3])
def test_every_nth_frame_shows_the_same_words(stride: int) -> None:
    for i in range(12):
        world = dataclasses.replace(world_at(i, 5, "heldout"), obstacle=None)
        frames = clip(world, 4, 8 * stride)[::stride]
        measured = measure_clip(frames, world, 4, stride)
        assert words(measured) == right(world)
        assert set(measured.psnr) == {MAX_PSNR}


def test_shuffled_frames_show_no_motion_along_a_line() -> None:
    hits = 0
    for i in range(20):
        world = dataclasses.replace(world_at(i, 5, "heldout"), speed="quickly", obstacle=None)
        order = np.random.default_rng(i).permutation(WINDOW)
        shuffled = measure_clip(clip(world)[order], world)
        hits += (shuffled.direction, shuffled.speed) == (world.direction, world.speed)
        assert (shuffled.color, shuffled.shape) == (world.color, world.shape)
    assert hits <= 2


@pytest.mark.parametrize("front", [None, Obstacle("blue", "square", 15.0, 15.5, 4.0)])
def test_every_wrong_attribute_is_noticed(front: Obstacle | None) -> None:
    world = dataclasses.replace(PLAIN, obstacle=front)
    assert words(measure_clip(clip(world), world)) == right(world)
    others: dict[str, tuple[str, ...]] = {
        "color": tuple(c for c in COLORS if front is None or c != front.color),
        "shape": SHAPES,
        "direction": tuple(OPPOSITE),
        "speed": ("slowly", "quickly"),
    }
    for name, choices in others.items():
        for choice in choices:
            shown = dataclasses.replace(world, **{name: choice})
            measured = measure_clip(clip(shown), world)
            assert getattr(measured, name) == choice
            assert words(measured) == right(shown)


def test_a_still_copy_and_a_lost_shape_have_no_motion() -> None:
    still = measure_clip(np.repeat(PLAIN.render(0)[None], WINDOW, axis=0), PLAIN)
    assert words(still) == (None, None, "red", "circle")
    empty = np.stack([PLAIN.background_image(t) for t in range(WINDOW)])
    lost = measure_clip(empty, PLAIN)
    assert words(lost) == (None, None, None, None)
    assert set(lost.background_psnr) == {MAX_PSNR}
    assert max(lost.psnr) < 30


@pytest.mark.parametrize(
    ("factor", "word"), [(1.0, "slowly"), (1.5, "slowly"), (0.55, None), (0.7, "slowly")]
)
def test_a_speed_counts_within_a_factor_of_1_6(factor: float, word: str | None) -> None:
    frames = np.stack([PLAIN.render(factor * t) for t in range(WINDOW)])  # type: ignore[arg-type]
    measured = measure_clip(frames, PLAIN)
    assert (measured.direction, measured.speed) == ("right", word)


def test_a_shape_that_jumps_about_shows_no_motion_but_its_looks() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        jumps = [dataclasses.replace(PLAIN, x=x, y=y) for x, y in rng.uniform(0, 32, (WINDOW, 2))]
        measured = measure_clip(np.stack([world.render(0) for world in jumps]), PLAIN)
        assert words(measured) == (None, None, "red", "circle")


def test_a_partly_hidden_shape_is_not_taken_for_another() -> None:
    front = Obstacle("green", "square", 16.0, 20.0, 5.0)
    for shape in SHAPES:  # covered from below in most frames, in the open in the last ones
        world = dataclasses.replace(
            PLAIN, shape=shape, obstacle=front, x=9.0, y=13.0, speed="quickly", radius=4.5
        )
        assert measure_clip(clip(world), world).shape == shape


def test_three_times_the_quick_speed_has_no_word() -> None:
    quick = dataclasses.replace(PLAIN, speed="quickly")
    frames = np.stack([quick.render(3 * t) for t in range(WINDOW)])
    assert measure_clip(frames, quick).direction == "right"
    assert measure_clip(frames, quick).speed is None


def test_a_shape_that_is_hidden_most_of_the_time_tells_no_motion() -> None:
    front = Obstacle("blue", "square", PLAIN.x + 4, PLAIN.y, 6.5)
    hidden = dataclasses.replace(PLAIN, obstacle=front, radius=3.6)
    measured = measure_clip(clip(hidden), hidden)
    assert (measured.direction, measured.speed) == (None, None)
    assert measured.color in (None, "red")


def test_the_obstacle_is_never_taken_for_the_moving_shape() -> None:
    front = Obstacle("blue", "square", 12.0, 16.0, 4.5)
    world = dataclasses.replace(PLAIN, obstacle=front, pan="down")
    alone = np.stack(
        [
            np.where(
                world.obstacle_cover(t)[..., None] > 0, world.render(t), world.background_image(t)
            )
            for t in range(WINDOW)
        ]
    )
    assert measure_clip(alone, world).color is None


def test_background_psnr_counts_what_no_true_shape_touches() -> None:
    front = Obstacle("blue", "square", 12.0, 16.0, 4.5)
    world = dataclasses.replace(PLAIN, obstacle=front)
    free = (world.cover(3) < 0.01) & (world.obstacle_cover(3) < 0.01)
    inside = clip(world)
    inside[3][~free] = 255
    assert measure_clip(inside, world).background_psnr[3] == MAX_PSNR
    assert measure_clip(inside, world).psnr[3] < 25
    outside = clip(world)
    outside[3][free] += 10
    measured = measure_clip(outside, world)
    assert measured.background_psnr[3] == pytest.approx(20 * np.log10(255 / 10))
    assert measured.background_psnr[2] == MAX_PSNR
    trail = clip(world)  # a copy of the shape where it was ten frames ago is background that is off
    before = world.cover(0)[..., None] > 0.5
    trail[10] = np.where(before, trail[0], trail[10])
    assert measure_clip(trail, world).background_psnr[10] < 25


def test_frames_can_start_later_in_the_world() -> None:
    world = world_at(3, 5, "heldout")
    assert set(measure_clip(clip(world, 37), world, 37).psnr) == {MAX_PSNR}
    assert min(measure_clip(clip(world, 37), world, 0).psnr) < MAX_PSNR


def test_larger_worlds_have_the_same_words() -> None:
    for i in range(6):
        world = world_at(i, seed=5, split="heldout", size=64)
        measured = words(measure_clip(clip(world), world))
        pairs = zip(measured, right(world), strict=True)
        assert all(shown in (None, true) for shown, true in pairs)
        assert measured[2] == world.color


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        measure_clip(np.zeros((2, 32, 32, 3), np.float32), PLAIN)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="32, 32"):
        measure_clip(np.zeros((2, 16, 16, 3), np.uint8), PLAIN)
    with pytest.raises(ValueError, match="0, 32, 32"):
        measure_clip(np.zeros((0, 32, 32, 3), np.uint8), PLAIN)
