"""The measurers: right on the truth, wrong where the clip is wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lightning_artv.synthetic.drawing import COLORS
from lightning_artv.synthetic.measures import MAX_PSNR, measure_clip, psnr
from lightning_artv.synthetic.scenes import Scene, scene_at
from lightning_artv.synthetic.words import measure_from_caption

SCENES = [scene_at(index, seed=11, split="heldout") for index in range(60)]


def noisy(frames: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, sigma, frames.shape)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("sigma", [0, 12])
def test_the_truth_is_recognised(sigma: float) -> None:
    for scene in SCENES:
        clip = noisy(scene.video(), sigma)
        with_truth, from_caption = measure_clip(clip, scene), measure_from_caption(clip)
        assert (with_truth.direction, with_truth.color) == (scene.direction, scene.color)
        for name in ("direction", "color", "shape", "background"):
            assert getattr(from_caption, name) == getattr(scene, name), scene
        assert len(with_truth.psnr) == scene.frames
        if not sigma:
            assert set(with_truth.psnr + with_truth.background_psnr) == {MAX_PSNR}


def test_a_still_copy_has_no_direction() -> None:
    for scene in SCENES[:20]:
        still = np.repeat(scene.render(0)[None], scene.frames, axis=0)
        measured = measure_clip(still, scene)
        assert measured.direction is None
        assert measured.color == scene.color
        assert measured.psnr[0] == MAX_PSNR
        assert measured.psnr[8] < 30
        assert measure_from_caption(still).direction is None


def test_motion_backwards_is_the_opposite_direction() -> None:
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}
    for scene in SCENES[:20]:
        backwards = scene.video()[::-1]
        assert measure_clip(backwards, scene).direction == opposite[scene.direction]
        assert measure_from_caption(backwards).direction == opposite[scene.direction]


def test_another_colour_shape_and_background_are_noticed() -> None:
    for scene in SCENES[:20]:
        color = next(word for word in COLORS if word != scene.color)
        shape = "circle" if scene.shape != "circle" else "triangle"
        background = "white" if scene.background != "white" else "black"
        other = dataclasses.replace(scene, color=color, shape=shape, background=background)
        measured = measure_from_caption(other.video())
        assert (measured.color, measured.shape) == (color, shape)
        assert measured.background == background
        recoloured = dataclasses.replace(scene, color=color)
        assert measure_clip(recoloured.video(), scene).color == color


@pytest.mark.filterwarnings("error")
def test_a_row_whose_background_has_the_objects_colour_leaves_the_shape_told() -> None:
    scene = dataclasses.replace(scene_at(3, 0), background="black", color="red", shape="square")
    frames = scene.video()
    row = int(np.nonzero(frames[0, :, :, 0] > 200)[0].min()) - 4  # above the square
    frames[:, row] = COLORS["red"]
    assert measure_from_caption(frames).shape == "square"


def test_a_lost_object_has_neither_direction_nor_colour() -> None:
    scene = SCENES[0]
    empty = np.repeat(scene.background_image()[None], 16, axis=0)
    measured = measure_clip(empty, scene)
    assert (measured.direction, measured.color) == (None, None)
    assert set(measured.background_psnr) == {MAX_PSNR}
    assert measure_from_caption(empty).shape is None
    vanishing = scene.video()
    vanishing[4:] = scene.background_image()
    assert measure_clip(vanishing, scene).direction is None


@pytest.mark.parametrize(("shown", "told"), [(7, False), (9, True)])
def test_a_scene_has_words_if_its_shape_is_there_in_half_of_the_frames(
    shown: int, told: bool
) -> None:
    for scene in SCENES[:10]:
        vanishing = scene.video()
        vanishing[shown:] = scene.background_image()
        measured = measure_clip(vanishing, scene)
        assert (measured.color, measured.direction) == (
            (scene.color, scene.direction) if told else (None, None)
        )


def test_scenes_on_a_torus_are_measured_anywhere() -> None:
    for index in range(60):
        scene = scene_at(index, seed=3, frames=None)
        for start in (0, 24, 112):
            clip = scene.video(start + 16)[start:]
            measured = measure_clip(noisy(clip, 8), scene, start)
            for word in ("direction", "speed", "color", "shape"):
                assert getattr(measured, word) == getattr(scene, word), (scene, start)
            told = measure_from_caption(noisy(clip, 8))
            for word in ("direction", "color", "shape", "background"):
                assert getattr(told, word) == getattr(scene, word), (scene, start)
            assert set(measure_clip(clip, scene, start).psnr) == {MAX_PSNR}


def test_background_psnr_ignores_the_object_and_only_it() -> None:
    scene = Scene("red", "square", "right", "slowly", "grey", 8.0, 16.0, 4.0)
    inside = scene.video()
    inside[3][scene.cover(3) >= 0.01] = 255
    assert measure_clip(inside, scene).background_psnr[3] == MAX_PSNR
    assert measure_clip(inside, scene).psnr[3] < 25
    outside = scene.video()
    outside[3][scene.cover(3) < 0.01] += 10
    expected = 20 * np.log10(255 / 10)
    assert measure_clip(outside, scene).background_psnr[3] == pytest.approx(expected)


def test_frames_can_start_later_in_the_scene() -> None:
    scene = SCENES[1]
    assert set(measure_clip(scene.video()[5:], scene, start=5).psnr) == {MAX_PSNR}
    assert measure_clip(scene.video()[5:], scene).psnr[0] < MAX_PSNR


def test_psnr_is_the_textbook_formula() -> None:
    black, grey = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 51, np.uint8)
    assert psnr(black, grey) == pytest.approx(20 * np.log10(5))


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        measure_clip(np.zeros((2, 32, 32, 3), np.float32), SCENES[0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="32, 32"):
        measure_clip(np.zeros((2, 16, 16, 3), np.uint8), SCENES[0])


def test_an_object_that_comes_in_on_the_other_side_keeps_its_words() -> None:
    """Columns are rolled, by which no background changes."""
    for scene in SCENES:
        if scene.direction not in ("left", "right"):
            continue
        for shift in (9, 17, 25):
            measured = measure_from_caption(np.roll(scene.video(), shift, axis=2))
            assert measured.direction == scene.direction, (scene, shift)
            assert (measured.color, measured.background) == (scene.color, scene.background)
