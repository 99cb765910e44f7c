"""What is measured of each clip: against the truth, at joins, from captions alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from evaluation.shapes.summary import Numbers
from lightning_artv.synthetic.drawing import Image
from lightning_artv.synthetic.joins import Joins, measure_joins, near
from lightning_artv.synthetic.measures import measure_clip
from lightning_artv.synthetic.scenes import Scene
from lightning_artv.synthetic.words import measure_from_caption

CLIP, SHORT, ALONE = 8, 16, 32
"""Frames in which words are measured; of a clip that is continued; of one from a caption alone."""
FRAMES = (1, 7, 15)
GIVEN = ("direction", "speed", "color", "background")
WORDS = ("direction", "color", "shape", "background")
CHANCE = "_by_chance"
JOINS = tuple(field.name for field in dataclasses.fields(Joins))

Found = dict[str, float | None]


def continued(clip: Image, scene: Scene, other: Scene, stride: int) -> Found:
    """What a clip shows that begins with a scene's frame 0.

    Args:
        clip: uint8 `[T, H, W, 3]`, T at least `SHORT`.
        scene: what it should show.
        other: another scene, whose words the same clip shows by chance.
        stride: frames of the scene per frame of the clip.
    """
    whole = measure_clip(clip[:SHORT], scene, stride=stride)
    begin = measure_clip(clip[:CLIP], scene, stride=stride)
    background = measure_from_caption(clip[:CLIP]).background
    found: Found = {f"psnr@{k}": whole.psnr[k] for k in FRAMES}
    found[f"background_psnr@{SHORT - 1}"] = whole.background_psnr[SHORT - 1]
    shown = {**{word: getattr(begin, word) for word in GIVEN[:3]}, "background": background}
    return found | _right(shown, scene, other)


def alone(clip: Image, scene: Scene, other: Scene) -> Found:
    """What a clip shows that was made from the scene's caption alone."""
    measured = measure_from_caption(clip[:CLIP])
    found = _right({word: getattr(measured, word) for word in WORDS}, scene, other)
    return {f"alone_{name}": value for name, value in found.items()}


def far(clip: Image, scene: Scene, stride: int) -> Found:
    """What is left at the end of a long clip: the shape's colour, place and direction."""
    start = stride * (len(clip) - CLIP)
    end = measure_clip(clip[-CLIP:], scene, start, stride)
    true = [scene.position(start + stride * k) for k in range(CLIP)]
    return {
        "far_psnr": end.psnr[-1],
        "far_alive": float(end.color == scene.color),
        "far_in_place": float(end.color == scene.color and near(end.places, true, scene)),
        "far_direction": float(end.direction == scene.direction),
    }


def joins(clip: Image, scene: Scene, starts: Sequence[int], stride: int, prefix: str) -> Found:
    """`measure_joins`; whether a clip comes again is left out where the true one does."""
    found = dataclasses.asdict(measure_joins(clip, scene, starts, stride))
    if measure_joins(scene_clip(scene, len(clip), stride), scene, starts, stride).again:
        found["again"] = None
    return {f"{prefix}{name}": value for name, value in found.items()}


def figures(
    given: Sequence[Image] | None,
    imagined: Sequence[Image] | None,
    scenes: Sequence[Scene],
    stride: int,
    starts: Callable[[int], list[int]],
) -> dict[str, Numbers]:
    """Name -> a number per clip, None where it does not apply.

    Args:
        given: clips that begin with each scene's frame 0, the long ones first.
        imagined: clips from each caption alone.
        scenes: theirs.
        stride: frames of a scene per frame of a clip.
        starts: number of frames -> frames that clips begin with.
    """
    others = [*scenes[1:], scenes[0]]
    rows: list[Found] = [{} for _ in scenes]
    for row, scene, other, clip in zip(rows, scenes, others, given or (), strict=False):
        row |= continued(clip, scene, other, stride)
        if len(clip) > SHORT:
            row |= far(clip, scene, stride)
            row |= joins(clip, scene, starts(len(clip)), stride, "given_")
    for row, scene, other, clip in zip(rows, scenes, others, imagined or (), strict=False):
        row |= alone(clip, scene, other)
        row |= joins(clip, scene, starts(len(clip)), stride, "alone_")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def scene_clip(scene: Scene, frames: int, stride: int) -> Image:
    """The true clip, uint8 `[T, H, W, 3]`."""
    video: Image = scene.video(stride * (frames - 1) + 1)[::stride]
    return video


def _right(shown: Mapping[str, Any], scene: Scene, other: Scene) -> Found:
    def pairs() -> Iterator[tuple[str, float]]:
        for word, value in shown.items():
            yield word, float(value == getattr(scene, word))
            yield f"{word}{CHANCE}", float(value == getattr(other, word))

    return dict(pairs())
