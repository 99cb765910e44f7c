"""Moving shapes: exact, seeded, inside the picture, and disjoint between splits."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_artv.errors import UserError
from lightning_artv.synthetic.drawing import (
    COLORS,
    DIRECTIONS,
    PALETTE,
    SHAPES,
    area,
    coverage,
)
from lightning_artv.synthetic.scenes import BACKGROUNDS, SPEEDS, Scene, random_scene, scene_at
from lightning_artv.synthetic.torus import is_heldout
from lightning_artv.synthetic.words import measure_from_caption
from lightning_artv.synthetic.worlds import world_at

scenes = st.builds(
    lambda seed, size, frames: random_scene(random.Random(seed), size, frames),
    st.integers(0, 10**9),
    st.sampled_from([16, 32, 48, 64]),
    st.sampled_from([2, 8, 16, 24, 48]),
)


@given(scenes)
@settings(deadline=None, max_examples=60)
def test_the_shape_never_touches_the_border_and_moves_as_it_says(scene: Scene) -> None:
    for t in (0, scene.frames - 1):
        mask = scene.cover(t)
        # antialiased corners cover up to a pixel too much, which shows on the smallest shapes
        assert mask.sum() == pytest.approx(area(scene.shape, scene.radius), rel=0.1, abs=1.0)
        assert mask.sum() == pytest.approx(_full_area(scene, t), abs=1e-6)
    path = np.subtract(scene.position(scene.frames - 1), scene.position(0))
    assert np.dot(path, DIRECTIONS[scene.direction]) == pytest.approx(
        scene.step * (scene.frames - 1)
    )


@given(st.integers(0, 10**9), st.sampled_from([16, 32, 48]), st.integers(0, 200))
@settings(deadline=None, max_examples=60)
def test_what_leaves_a_torus_comes_in_at_the_opposite_side(seed: int, size: int, t: int) -> None:
    scene = random_scene(random.Random(seed), size, frames=None)
    dx, dy = DIRECTIONS[scene.direction]
    far = SPEEDS[scene.speed] * size / 32 * t  # never slowed, and never turned round
    x, y = scene.x + dx * far, scene.y + dy * far
    tiles = itertools.product(range(-9, 10), repeat=2)
    near = [(x + i * size, y + j * size) for i, j in tiles]
    near = [place for place in near if max(abs(v - size / 2) for v in place) < size]
    covers = [coverage(scene.shape, *place, scene.radius, size) for place in near]
    assert np.allclose(scene.cover(t), np.max(covers, axis=0), atol=1e-9)
    assert (scene.render(t)[scene.cover(t) == 1] == COLORS[scene.color]).all()
    background = dataclasses.replace(scene, radius=0.001).render(t)
    free = scene.cover(t) == 0
    assert (scene.render(t)[free] == background[free]).all()


def test_scenes_on_a_torus_are_as_plain_ones_but_begin_anywhere() -> None:
    torus = [scene_at(i, 0, frames=None) for i in range(400)]
    assert torus[7] == scene_at(7, 0, frames=None) != scene_at(7, 1, frames=None)
    assert not any(map(is_heldout, torus))
    assert {(s.shape, s.speed, s.background) for s in torus} == set(
        itertools.product(SHAPES, SPEEDS, BACKGROUNDS)
    )
    for axis in ("x", "y"):
        shares = np.histogram([getattr(s, axis) for s in torus], bins=8, range=(0, 32))[0] / 400
        assert shares.min() > 1 / 16 and shares.max() < 3 / 16
    assert 3.6 <= min(s.radius for s in torus) < 3.65 and 4.55 < max(s.radius for s in torus) <= 4.6
    assert {s.caption().split(" on a ")[1] for s in torus} == {
        f"{b} background" for b in BACKGROUNDS
    }
    assert torus[0].video(48).shape == (48, 32, 32, 3)
    assert Scene.from_json(torus[0].to_json()) == torus[0]
    with pytest.raises(ValueError, match="say one"):
        torus[0].video()


def test_a_scene_goes_on_where_its_frames_end() -> None:
    for index in range(40):
        scene = scene_at(index, 2)
        endless = dataclasses.replace(scene, frames=None)
        assert np.abs(scene.video().astype(int) - endless.video(16)).max() <= 1  # of rounding
        assert (scene.render(40) == endless.render(40)).all()


def test_seeded_scenes_and_worlds_are_for_ever_the_same() -> None:
    """Digests of before plain scenes and worlds shared their code."""
    digest = hashlib.sha256()
    for index, split in itertools.product(range(12), ("train", "heldout")):
        for world, frames in ((scene_at(index, 3, split), 16), (world_at(index, 3, split), 40)):
            digest.update(world.video(frames).tobytes())
            digest.update(f"{world.to_json()} {world.caption()}".encode())
    assert digest.hexdigest() == "64420646d9688cbd444db31f79eba4ef3ccd8480022c25a48eec0a10090c261e"


def _full_area(scene: Scene, t: int) -> float:
    """Coverage on a canvas with room on all sides: equal only if nothing is cut off."""
    x, y = scene.position(t)
    return float(coverage(scene.shape, x + 32, y + 32, scene.radius, scene.size + 64).sum())


@pytest.mark.parametrize("shape", SHAPES)
def test_coverage_has_the_area_and_centre_of_the_shape(shape: str) -> None:
    mask = coverage(shape, 31.3, 30.8, 12.0, 64)
    rows, columns = np.indices(mask.shape) + 0.5
    assert mask.min() == 0.0
    assert mask.max() == 1.0
    assert mask.sum() == pytest.approx(area(shape, 12.0), rel=0.02)
    assert (mask * columns).sum() / mask.sum() == pytest.approx(31.3, abs=0.1)
    assert (mask * rows).sum() / mask.sum() == pytest.approx(30.8, abs=0.1)


def test_displacement_over_16_frames_is_visible() -> None:
    for speed, (low, high) in {"slowly": (8, 12), "quickly": (15, 18)}.items():
        scene = Scene("red", "circle", "right", speed, "grey", 6, 16, 4)
        assert low <= scene.position(15)[0] - 6 <= high


def test_pixels_are_colour_inside_background_outside_and_mixed_between() -> None:
    scene = Scene("red", "square", "right", "slowly", "dusky", 10.25, 16.0, 5.0)
    frame, background, mask = scene.render(0), scene.background_image(), scene.cover(0)
    assert (frame[mask == 1] == COLORS["red"]).all()
    assert (frame[mask == 0] == background[mask == 0]).all()
    edge = (mask > 0.1) & (mask < 0.9)
    assert edge.any()
    low = np.minimum(background[edge], COLORS["red"])
    high = np.maximum(background[edge], COLORS["red"])
    assert ((frame[edge] >= low) & (frame[edge] <= high)).all()
    assert tuple(background[0, 0]) == BACKGROUNDS["dusky"][0]
    assert tuple(background[-1, 0]) == BACKGROUNDS["dusky"][1]


def test_colours_are_far_from_each_other_and_from_backgrounds() -> None:
    others = [*COLORS.values(), *(tone for pair in BACKGROUNDS.values() for tone in pair)]
    for color in COLORS.values():
        distances = [np.linalg.norm(np.subtract(color, other)) for other in others]
        assert sorted(distances)[1] > 100


def test_a_color_that_no_random_scene_has_is_drawn_where_it_is_asked_for() -> None:
    for index in range(20):
        plain, orange = scene_at(index, 3), random_scene(random.Random(index), color="orange")
        assert plain.color in COLORS and orange.caption().startswith("an orange ")
        words = measure_from_caption(orange.video(), PALETTE)
        assert (words.color, words.shape) == ("orange", orange.shape)
        assert measure_from_caption(orange.video()).color != "orange"  # of the six alone
    assert {scene_at(i, 0, "heldout", color="orange").color for i in range(8)} == {"orange"}
    as_before = dataclasses.replace(random_scene(random.Random(5)), color="orange")
    assert random_scene(random.Random(5), color="orange") == as_before


def test_captions_say_what_is_shown() -> None:
    scene = Scene("red", "circle", "right", "slowly", "grey", 8, 16, 4)
    assert scene.caption() == "a red circle moves right slowly on a grey background"
    words = [COLORS, SHAPES, DIRECTIONS, SPEEDS, BACKGROUNDS]
    captions = {
        Scene(c, s, d, v, b, 16, 16, 4).caption() for c, s, d, v, b in itertools.product(*words)
    }
    assert len(captions) == np.prod([len(w) for w in words])


@given(scenes)
@settings(deadline=None, max_examples=30)
def test_json_gives_the_same_scene_back(scene: Scene) -> None:
    assert Scene.from_json(scene.to_json()) == scene


@pytest.mark.parametrize("text", ["", "{", "[]", '{"color": "red"}'])
def test_bad_json_is_a_user_error(text: str) -> None:
    with pytest.raises(UserError):
        Scene.from_json(text)


def test_unknown_words_and_impossible_sizes_are_user_errors() -> None:
    with pytest.raises(UserError, match="color is one of red"):
        Scene("pink", "circle", "right", "slowly", "grey", 8, 16, 4)
    with pytest.raises(UserError, match="16 pixels"):
        random_scene(random.Random(0), size=8)


def test_splits_are_disjoint_and_reproducible_even_with_equal_seeds() -> None:
    train = [scene_at(i, seed=0) for i in range(300)]
    heldout = [scene_at(i, seed=0, split="heldout") for i in range(300)]
    assert not set(train) & set(heldout)
    assert not any(map(is_heldout, train))
    assert all(map(is_heldout, heldout))
    assert len(set(train)) == 300
    assert train[7] == scene_at(7, seed=0)
    assert train[7] != scene_at(7, seed=1)
    assert {s.color for s in heldout} == set(COLORS)
