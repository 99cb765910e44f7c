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

from lightning_artv.media.atomic import replace_end, write_atomically
from lightning_artv.media.frames import as_clip

PALETTE_FRAMES = 16
"""The common palette is made from at most this many frames; a stream holds no more."""

TRAILER = b";"


class GifEncoder:
    """Writes frames `[H, W, 3]` uint8 to an open binary file, which is whole after each of them.

    The palette is common to all frames, so that still areas do not flicker: 192 colours chosen from
    the first frames and a coarse cube of 64 that also serves what appears later. Until these frames
    are there, the file has the palette of the first; then they are written again.
    """

    def __init__(self, file: BinaryIO, fps: float, palette: Image.Image | None = None) -> None:
        self._file = file
        self._fps = fps
        self._palette = palette
        self._held: list[np.ndarray] | None = [] if palette is None else None
        self._written = 0
        self._end = 0

    def add(self, image: np.ndarray) -> None:
        """Append one frame, in the place of the trailer, and the trailer."""
        self._palette = self._palette or common_palette([image])
        self._append(self._encoded(image))
        if self._held is not None:
            self._held.append(image.copy())
            if len(self._held) == PALETTE_FRAMES:
                self.finish()

    def finish(self) -> None:
        """Write the held frames with their common palette; the file stays open."""
        held, self._held = self._held, None
        if not held:
            return
        self._palette = common_palette(held)
        self._written = self._end = 0
        self._append(b"".join([self._encoded(image) for image in held]))

    def _append(self, data: bytes) -> None:
        replace_end(self._file, self._end, data + TRAILER)
        self._end += len(data)

    def _encoded(self, image: np.ndarray) -> bytes:
        assert self._palette is not None
        header = b"" if self._written else _header(image.shape[1], image.shape[0], self._palette)
        self._written += 1
        # the format counts hundredths of a second: the times are rounded, so that no drift adds up
        start, end = (round(100 * n / self._fps) for n in (self._written - 1, self._written))
        indexed = Image.fromarray(image).quantize(palette=self._palette)
        parts = GifImagePlugin.getdata(indexed, duration=10 * max(end - start, 2))
        return header + b"".join(parts)


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
