"""Worlds: exact for any number of frames, disjoint between splits, and what their caption says."""

from __future__ import annotations

import dataclasses
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_artv.errors import UserError
from lightning_artv.synthetic.drawing import COLORS, DIRECTIONS, area
from lightning_artv.synthetic.torus import is_heldout
from lightning_artv.synthetic.worlds import PANS, SPEEDS, TEXTURES, World, random_world, world_at

worlds = st.builds(
    lambda seed, size: random_world(random.Random(seed), size),
    st.integers(0, 10**9),
    st.sampled_from([32, 64]),
)


@given(worlds, st.integers(0, 200))
@settings(deadline=None, max_examples=60)
def test_nothing_is_lost_at_the_borders(world: World, t: int) -> None:
    whole = world.whole_cover(t)
    assert whole.sum() == pytest.approx(area(world.shape, world.radius), rel=0.1, abs=1.0)
    assert world.cover(t).max() <= 1.0
    assert (world.cover(t) <= whole).all()
    background = np.roll(world.background_image(0), world.scroll(t)[::-1], axis=(0, 1))
    assert (world.background_image(t) == background).all()
    assert (world.obstacle_cover(t).sum() == 0) == (world.obstacle is None)


@given(worlds)
@settings(deadline=None, max_examples=60)
def test_shapes_are_painted_in_the_right_order(world: World) -> None:
    for t in (0, 17, 127):
        picture = world.render(t)
        hidden = world.obstacle_cover(t) == 1
        seen = (world.whole_cover(t) == 1) & (world.obstacle_cover(t) == 0)
        free = (world.whole_cover(t) == 0) & (world.obstacle_cover(t) == 0)
        if world.obstacle is not None:
            assert (picture[hidden] == COLORS[world.obstacle.color]).all()
        assert (picture[seen] == COLORS[world.color]).all()
        assert (picture[free] == world.background_image(t)[free]).all()
        assert free.mean() > 0.6


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_shape_moves_as_the_caption_says(direction: str) -> None:
    world = dataclasses.replace(world_at(3, 0), direction=direction, speed="quickly", obstacle=None)
    frames = 64  # 90 pixels: round the torus and on
    moved = np.subtract(world.position(1), world.position(0))
    half = world.size / 2
    assert np.allclose((moved + half) % world.size - half, 1.4 * np.array(DIRECTIONS[direction]))
    path = world.step * frames * np.array(DIRECTIONS[direction])
    end = (np.array(world.position(0)) + path) % world.size
    assert np.allclose(world.position(frames), end)
    assert f"moves {direction} quickly, " in world.caption()


@pytest.mark.parametrize("pan", PANS)
def test_the_background_scrolls_by_whole_pixels(pan: str) -> None:
    world = dataclasses.replace(world_at(5, 0), pan=pan)
    dx, dy = PANS[pan]
    assert (
        world.background_image(7) == np.roll(world.background_image(0), (7 * dy, 7 * dx), (0, 1))
    ).all()
    words = {
        "right": "drift east",
        "left": "drift west",
        "down": "drift south",
        "up": "drift north",
    }
    assert world.caption().endswith(words.get(pan, "stand still"))


@pytest.mark.parametrize("texture", TEXTURES)
def test_textures_meet_at_the_borders_and_stay_far_from_the_shapes_colours(texture: str) -> None:
    world = dataclasses.replace(world_at(1, 0), texture=texture, phase=(0, 0))
    picture = world.background_image(0).astype(float)
    assert picture.std() > 8
    seam = np.abs(picture[:, 0] - picture[:, -1]).mean()
    inside = np.abs(np.diff(picture, axis=1)).mean(axis=(0, 2)).max()
    assert seam <= inside + 1e-9
    for index in range(50):
        colors = np.array(list(COLORS.values()), dtype=float)
        pixels = dataclasses.replace(world_at(index, 0), texture=texture).background_image(0)
        distance = np.linalg.norm(pixels.reshape(-1, 1, 3) - colors, axis=-1)
        assert distance.min() > 50


def test_an_obstacle_hides_the_moving_shape_when_nothing_scrolls() -> None:
    found = [world_at(i, 0) for i in range(200)]
    assert 0.4 < np.mean([world.obstacle is not None for world in found]) < 0.6
    assert 0.5 < np.mean([world.pan == "still" for world in found]) < 0.7
    for world in found:
        if world.obstacle is None:
            continue
        assert world.obstacle.color != world.color
        assert world.obstacle_cover(0)[world.whole_cover(0) > 0].sum() == pytest.approx(0, abs=0.5)
        if world.pan == "still":
            turn = round(world.size / SPEEDS[world.speed])
            least = min(world.cover(t).sum() for t in range(turn))
            assert least < 0.75 * world.whole_cover(0).sum()


def test_the_same_arguments_give_the_same_world_and_splits_are_disjoint() -> None:
    assert world_at(7, 3, "heldout") == world_at(7, 3, "heldout")
    assert world_at(7, 3) != world_at(8, 3)
    assert all(is_heldout(world_at(i, 0, "heldout")) for i in range(20))
    assert not any(is_heldout(world_at(i, 0, "train")) for i in range(20))


@given(worlds)
@settings(deadline=None, max_examples=30)
def test_json_gives_the_equal_world_back(world: World) -> None:
    again = World.from_dict(json.loads(json.dumps({**world.to_dict(), "fps": 8})))
    assert again == world
    assert is_heldout(again) == is_heldout(world)


def test_impossible_worlds_are_refused_in_a_sentence() -> None:
    world = world_at(0, 0)
    with pytest.raises(UserError, match=r"texture is one of bricks, .* not 'wool'"):
        dataclasses.replace(world, texture="wool")
    with pytest.raises(UserError, match="multiple of 32 pixels, not 40"):
        dataclasses.replace(world, size=40)
    with pytest.raises(UserError, match="lacks tint, radius"):
        World.from_dict({k: v for k, v in world.to_dict().items() if k not in ("tint", "radius")})
