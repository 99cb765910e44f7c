"""Joins: videos made by hand, of which it is known what happens where their clips join."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lightning_artv.synthetic.drawing import DIRECTIONS
from lightning_artv.synthetic.joins import Joins, measure_joins
from lightning_artv.synthetic.scenes import Scene, scene_at

CLIP, STRIDE, CLIPS = 8, 2, 4
STARTS = tuple(range(0, CLIP * CLIPS, CLIP))
SCENES = [scene_at(i, 7, "heldout", frames=None) for i in range(20)]


def clip(scene: Scene, start: int = 0, count: int = CLIP) -> np.ndarray:
    """Frames of a scene, `start` counted in frames of the video."""
    return np.stack([scene.render(STRIDE * (start + k)) for k in range(count)])


def elsewhere(scene: Scene) -> Scene:
    """The same half a picture away, across its direction."""
    dx, dy = DIRECTIONS[scene.direction]
    return dataclasses.replace(scene, x=(scene.x + 16 * dy) % 32, y=(scene.y + 16 * dx) % 32)


def joined(scene: Scene, *clips: np.ndarray) -> Joins:
    starts = np.cumsum([0, *(len(clip) for clip in clips[:-1])])
    return measure_joins(np.concatenate(clips), scene, starts.tolist(), STRIDE)


@pytest.mark.parametrize("scene", SCENES)
def test_the_truth_goes_on(scene: Scene) -> None:
    found = joined(scene, *(clip(scene, start) for start in STARTS))
    assert found.jump == pytest.approx(1, abs=0.25)
    shares = dataclasses.astuple(found)[1:]
    assert shares == (1, 1, 1, 0, 0)


def test_clips_of_unequal_length_are_measured_where_they_begin() -> None:
    for scene in SCENES[:5]:
        found = joined(scene, clip(scene), *(clip(scene, k, 4) for k in (8, 12, 16)))
        assert dataclasses.astuple(found)[1:] == (1, 1, 1, 0, 0)
        assert found.jump == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("scene", SCENES[:8])
def test_a_clip_played_backwards(scene: Scene) -> None:
    one = clip(scene)
    found = joined(scene, one, one[::-1], one, one[::-1])
    assert found == Joins(0.0, 1.0, 0.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("scene", SCENES[:8])
def test_a_clip_shown_again(scene: Scene) -> None:
    """The shape jumps back to where it began: as far as it went."""
    one = clip(scene)
    found = joined(scene, one, one, one)
    assert found.jump is not None and found.jump > 1.5
    assert dataclasses.astuple(found)[1:] == (0, 1, 1, 0, 1)


@pytest.mark.parametrize("scene", SCENES[:8])
def test_a_jump_across_the_picture(scene: Scene) -> None:
    found = joined(scene, clip(scene), clip(elsewhere(scene), 8), clip(scene, 16))
    assert found.jump is not None and found.jump > 1.5
    assert dataclasses.astuple(found)[1:] == (0, 1, 1, 0, 0)


@pytest.mark.parametrize("scene", SCENES[:8])
def test_turned_elsewhere_is_turned_but_not_backwards(scene: Scene) -> None:
    found = joined(scene, clip(scene), clip(elsewhere(scene))[::-1])
    assert (found.direction_kept, found.backwards, found.place_kept) == (0, 0, 0)


def test_another_colour() -> None:
    for scene in SCENES[:5]:
        other = dataclasses.replace(scene, color="red" if scene.color != "red" else "blue")
        found = joined(scene, clip(scene), clip(other, 8), clip(other, 16))
        assert (found.color_kept, found.direction_kept) == (0.5, 1)


def test_a_shape_that_disappears_keeps_nothing() -> None:
    scene = SCENES[0]
    nothing = np.stack([scene.background_image()] * CLIP)
    found = joined(scene, clip(scene), nothing, nothing)
    assert (found.place_kept, found.direction_kept, found.color_kept) == (0, 0, 0)
    assert (found.backwards, found.again) == (0, 0)


def test_what_cannot_be_told_is_none() -> None:
    scene = SCENES[0]
    still = np.repeat(clip(scene, 0, 1), 24, axis=0)
    found = measure_joins(still, scene, [0, 8, 16], STRIDE)
    assert (found.jump, found.direction_kept, found.backwards, found.again) == (None,) * 4
    assert (found.place_kept, found.color_kept) == (1, 1)
    alone = measure_joins(clip(scene), scene, [0], STRIDE)
    assert set(dataclasses.astuple(alone)) == {None}
    for wrong in ([], [1, 8], [0, 8, 8], [0, 8, 24]):
        with pytest.raises(ValueError, match="rising"):
            measure_joins(still, scene, wrong, STRIDE)


def test_a_jump_is_over_the_change_inside_clips_alone() -> None:
    greys = np.array([0, 10, 20, 30, 60, 70, 80, 90], np.uint8)
    frames = np.broadcast_to(greys[:, None, None, None], (8, 32, 32, 3)).copy()
    assert measure_joins(frames, SCENES[0], [0, 4], STRIDE).jump == 3


def test_near_the_same_places_is_not_backwards_unless_it_turns() -> None:
    """A slow shape that stops, or goes on at a right angle, stays within its radius."""
    slow = dataclasses.replace(SCENES[0], direction="right", speed="slowly", radius=4.5)
    before = clip(slow, 0, 4)
    x, y = slow.position(STRIDE * 3)
    down = dataclasses.replace(slow, direction="down", x=x, y=y)
    for after in (np.repeat(before[-1:], 4, axis=0), clip(down, 0, 4)):
        found = joined(slow, before, after)
        assert (found.direction_kept, found.backwards, found.place_kept) == (0, 0, 1)
    assert joined(slow, before, before[::-1]).backwards == 1
