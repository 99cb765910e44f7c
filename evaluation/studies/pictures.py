"""Clips of all variants side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from evaluation.studies.figures import TRUTH
from evaluation.studies.grid import Grid
from lightning_artv.media import gif_bytes, grid
from lightning_artv.media.atomic import atomic_path, writing_to

FPS = 8.0
STRIP_FRAMES = (0, 1, 4, 8, 16, 32, 64, 127)
GAP = 2


@dataclass(frozen=True)
class SideBySide:
    """The same clips of every variant, made with the same noise.

    Attributes:
        names: names of the rows, the truth first.
        rows: uint8 `[T, H, W, 3]` each: the clips next to each other.
        seed: seed of the trainings that are shown.
    """

    names: tuple[str, ...]
    rows: tuple[NDArray[np.uint8], ...]
    seed: int

    def sheet(self, frames: int, labels: bool = False, scale: int = 1) -> NDArray[np.uint8]:
        """All rows below one another.

        Args:
            frames: largest number of frames, evenly chosen.
            labels: write the rows' names at the left.
            scale: whole-number enlargement.

        Returns:
            uint8 `[T, H, W, 3]`.
        """
        length = len(self.rows[0])
        kept = np.unique(np.linspace(0, length - 1, min(frames, length)).round().astype(int))
        clips = torch.from_numpy(np.stack([row[kept] for row in self.rows]))
        sheet: NDArray[np.uint8] = grid(clips, 1, gap=GAP).numpy()
        sheet = sheet.repeat(scale, axis=1).repeat(scale, axis=2)
        if not labels:
            return sheet
        return self._labelled(sheet, scale)

    def gif(self, frames: int, labels: bool = False, scale: int = 1) -> bytes:
        """`sheet` as an animation that takes as long whatever `frames` is."""
        sheet = self.sheet(frames, labels, scale)
        return gif_bytes(sheet, FPS * len(sheet) / len(self.rows[0]) * 2)

    @property
    def strip_frames(self) -> tuple[int, ...]:
        """Which frames `strip` shows."""
        return tuple(frame for frame in STRIP_FRAMES if frame < len(self.rows[0]))

    def strip(self, clip: int = 0, labels: bool = False, scale: int = 1) -> NDArray[np.uint8]:
        """One clip at some frames: a row per variant, a column per frame of `STRIP_FRAMES`.

        Returns:
            uint8 `[H, W, 3]`.
        """
        height = self.rows[0].shape[1]
        left = clip * (height + GAP)
        cells = [row[f][:, left : left + height] for row in self.rows for f in self.strip_frames]
        sheet = grid(torch.from_numpy(np.stack(cells))[:, None], len(self.strip_frames), gap=GAP)
        picture = sheet.numpy().repeat(scale, axis=1).repeat(scale, axis=2)
        return (self._labelled(picture, scale) if labels else picture)[0]

    def _labelled(self, sheet: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
        """A sheet `[T, H, W, 3]` with the rows' names at the left."""
        side = _labels(self.names, (self.rows[0].shape[1] + GAP) * scale, sheet.shape[1])
        return np.concatenate([np.broadcast_to(side, (len(sheet), *side.shape)), sheet], axis=2)


def side_by_side(found: Grid) -> SideBySide | None:
    """The first seed for which there are samples; None where there are none."""
    for seed in found.plan["seeds"]:
        samples = {v: runs[seed].samples() for v, runs in found.variants.items() if seed in runs}
        samples = {v: arrays for v, arrays in samples.items() if arrays}
        if samples:
            truth = next(iter(samples.values()))["truth"]
            rows = [_row(truth), *(_row(arrays["generated"]) for arrays in samples.values())]
            titles = (TRUTH, *(found.titles[v] for v in samples))
            return SideBySide(titles, tuple(rows), seed)
    return None


def save(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture `[H, W, 3]` as PNG, whole or not at all."""
    with atomic_path(path) as temporary, writing_to(path):
        Image.fromarray(picture).save(temporary, "PNG", optimize=True)


def _row(clips: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`[K, T, H, W, 3]` next to each other."""
    row: NDArray[np.uint8] = grid(torch.from_numpy(clips), len(clips), gap=GAP).numpy()
    return row


def _labels(names: Sequence[str], pitch: int, height: int) -> NDArray[np.uint8]:
    """Names on white, one every `pitch` pixels: uint8 `[height, W, 3]`."""
    font = ImageFont.load_default(13)
    names = [name.replace("•", "·") for name in names]  # the font has no bullet
    width = round(max(font.getlength(name) for name in names)) + 12
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for row, name in enumerate(names):
        draw.text((width - 6, row * pitch + pitch / 2), name, "#222222", font, anchor="rm")
    return np.array(image)
