"""Videos written frame by frame, at constant memory, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from PIL import Image

from lightning_artv.errors import UserError
from lightning_artv.media.atomic import atomic_path, writing_to
from lightning_artv.media.frames import Frame, as_image
from lightning_artv.media.gif import GifEncoder

BT709 = 1
"""FFmpeg's number for the BT.709 matrix, primaries and transfer."""


class FrameWriter:
    """Takes the frames of one video; made by `open_writer`.

    Attributes:
        frames: how many were written.
    """

    def __init__(self, path: Path, size: tuple[int, int], encoder: Encoder) -> None:
        self.frames = 0
        self._path = path
        self._size = size
        self._encoder = encoder

    def write(self, frame: Frame) -> None:
        """Append a frame, uint8 `[3, H, W]` (torch) or `[H, W, 3]`.

        Raises:
            ValueError: another shape, type or size.
            UserError: the disk is full or refuses.
        """
        image = as_image(frame)
        if image.shape[:2] != self._size:
            raise ValueError(f"{self._path} holds {self._size} frames, got {image.shape[:2]}.")
        with writing_to(self._path):
            self._encoder.add(image)
        self.frames += 1


class Encoder(Protocol):
    """What turns frames into a file or folder."""

    def add(self, image: np.ndarray) -> None:
        """Append one frame, uint8 `[H, W, 3]`."""

    def finish(self) -> None:
        """Write the end; called once, after the last frame."""

    def close(self) -> None:
        """Let go of the file; called always."""


@contextmanager
def open_writer(path: str | Path, fps: float, size: tuple[int, int]) -> Iterator[FrameWriter]:
    """A writer for `.mp4` (H.264), `.gif`, or (no suffix) a folder of lossless `00000.png` on.

    The result is made under a temporary name beside `path` and renamed at the successful end; after
    an exception nothing of it remains and what was there before is untouched.

    Args:
        path: where to; missing parent folders are made, a file is replaced, a folder must be empty
            or new.
        fps: frames per second.
        size: (height, width) of every frame.

    Raises:
        UserError: an unknown suffix, a place that cannot be written, or no frame written.
    """
    path = Path(path)
    make = _encoder_for(path)
    if path.is_dir() and (path.suffix or any(path.iterdir())):
        raise UserError(f"{path} is a folder with something in it: remove it or name another.")
    if path.is_file() and not path.suffix:
        raise UserError(f"{path} is a file: remove it, or name a .mp4, a .gif or a new folder.")
    if fps <= 0:
        raise UserError(f"The frame rate must be above 0, got {fps}.")
    with atomic_path(path) as temporary:
        with writing_to(path):
            encoder = make(temporary, fps, size)
        try:
            writer = FrameWriter(path, size, encoder)
            yield writer
            if not writer.frames:
                raise UserError(f"No frame was made for {path}, so nothing was written.")
            with writing_to(path):
                encoder.finish()
        finally:
            with writing_to(path):  # closing flushes, and a full disk refuses that too
                encoder.close()


class Mp4Encoder:
    """H.264 in yuv420p, which plays everywhere; odd sizes grow by a repeated row or column."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        height, width = size
        rate = Fraction(fps).limit_denominator(1001)
        self._container = av.open(
            f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"}
        )
        self._stream = self._container.add_stream("libx264", rate=rate)
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "17", "preset": "medium"}
        context = self._stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = 1
        self._next = 0

    def add(self, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(padded, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, self._next = self._next, self._next + 1
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def close(self) -> None:
        self._container.close()


class GifFileEncoder(GifEncoder):
    """An animated GIF in a file of its own."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self._opened = path.open("wb")
        super().__init__(self._opened, fps)

    def finish(self) -> None:
        super().finish()
        self._opened.close()

    def close(self) -> None:
        self._opened.close()


class PngFolderEncoder:
    """Lossless frames `00000.png`, `00001.png`, ... in a folder."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        path.mkdir()
        self._folder = path
        self._next = 0

    def add(self, image: np.ndarray) -> None:
        Image.fromarray(image).save(self._folder / f"{self._next:05d}.png")
        self._next += 1

    def finish(self) -> None:
        """Nothing: every frame is already whole."""

    def close(self) -> None:
        """Nothing: no file stays open."""


def _encoder_for(path: Path) -> Callable[[Path, float, tuple[int, int]], Encoder]:
    suffix = path.suffix.lower()
    if suffix == ".mp4":
        return Mp4Encoder
    if suffix == ".gif":
        return GifFileEncoder
    if not suffix:
        return PngFolderEncoder
    raise UserError(
        f"Cannot write {path}: name a .mp4, a .gif, or a folder (no suffix), not {suffix!r}."
    )
