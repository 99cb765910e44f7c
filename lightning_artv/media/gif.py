"""Animated GIFs, frame by frame at constant memory.

Pillow compresses each frame; its own `save_all` keeps every frame until the end, so the container
is written here (GIF89a: header, one common palette, loop extension, frames, trailer).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import GifImagePlugin, Image
from torch import Tensor

from lightning_artv.media.atomic import write_atomically
from lightning_artv.media.frames import as_clip

PALETTE_FRAMES = 16
"""The common palette is made from at most this many frames; a stream holds back no more."""


class GifEncoder:
    """Writes frames `[H, W, 3]` uint8 to an open binary file.

    The palette is common to all frames, so that still areas do not flicker: 192 colours chosen from
    the first frames and a coarse cube of 64 that also serves what appears later.
    """

    def __init__(self, file: BinaryIO, fps: float, palette: Image.Image | None = None) -> None:
        self._file = file
        self._fps = fps
        self._palette = palette
        self._held: list[np.ndarray] = []
        self._written = 0

    def add(self, image: np.ndarray) -> None:
        """Write one frame, or hold it back while the palette's frames are collected."""
        if self._palette is None and len(self._held) < PALETTE_FRAMES:
            self._held.append(image.copy())
            return
        self._release()
        self._write(image)

    def finish(self) -> None:
        """Write what is held back and the trailer; the file stays open."""
        self._release()
        self._file.write(b";")

    def _release(self) -> None:
        held, self._held = self._held, []
        if self._palette is None:
            self._palette = common_palette(held)
        for image in held:
            self._write(image)

    def _write(self, image: np.ndarray) -> None:
        assert self._palette is not None
        if not self._written:
            self._file.write(_header(image.shape[1], image.shape[0], self._palette))
        self._written += 1
        # the format counts hundredths of a second: the times are rounded, so that no drift adds up
        start, end = (round(100 * n / self._fps) for n in (self._written - 1, self._written))
        indexed = Image.fromarray(image).quantize(palette=self._palette)
        for part in GifImagePlugin.getdata(indexed, duration=10 * max(end - start, 2)):
            self._file.write(part)


def common_palette(images: Sequence[np.ndarray]) -> Image.Image:
    """256 colours for frames `[H, W, 3]` of one width: 192 of theirs and a cube of 4x4x4."""
    chosen = Image.fromarray(np.concatenate(list(images))).quantize(
        192, method=Image.Quantize.MEDIANCUT, kmeans=1
    )
    own = (chosen.getpalette() or [])[: 192 * 3]
    levels = (0, 85, 170, 255)
    cube = [value for r in levels for g in levels for b in levels for value in (r, g, b)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*own, *cube, *[0] * (768 - len(own) - len(cube))])
    return palette


def gif_bytes(frames: Tensor | np.ndarray, fps: float, scale: int = 1) -> bytes:
    """A clip as an endlessly repeated GIF.

    Args:
        frames: uint8 `[T, H, W, 3]`.
        fps: frames per second; the format plays at most 50.
        scale: whole-number enlargement, by repeating pixels.
    """
    clip = as_clip(frames)
    spread = clip[np.linspace(0, len(clip) - 1, min(len(clip), PALETTE_FRAMES)).astype(int)]
    file = io.BytesIO()
    encoder = GifEncoder(file, fps, common_palette(list(spread)))
    for image in clip:
        encoder.add(image.repeat(scale, axis=0).repeat(scale, axis=1))
    encoder.finish()
    return file.getvalue()


def write_gif(path: str | Path, frames: Tensor | np.ndarray, fps: float, scale: int = 1) -> None:
    """Write `gif_bytes` to a file, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    write_atomically(path, gif_bytes(frames, fps, scale))


def _header(width: int, height: int, palette: Image.Image) -> bytes:
    colours = bytes(palette.getpalette() or []).ljust(768, b"\0")
    screen = struct.pack("<HHBBB", width, height, 0xF7, 0, 0)  # 0xF7: a common palette of 256
    loop_forever = b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
    return b"GIF89a" + screen + colours + loop_forever
