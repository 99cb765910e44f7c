"""Videos written frame by frame, at constant memory, whole or not at all."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from PIL import Image

from lightning_artv.errors import UserError, check_number
from lightning_artv.media.atomic import (
    alone,
    atomic_path,
    remove,
    replace_end,
    writing_to,
)
from lightning_artv.media.frames import Frame, as_image
from lightning_artv.media.gif import GifEncoder

BT709 = 1
"""FFmpeg's number for the BT.709 matrix, primaries and transfer."""

SLOWEST, FASTEST = 0.01, 1000
"""Frames a second that all formats hold."""

FRAGMENT = {
    "movflags": "empty_moov+default_base_moof+frag_discont",
    "avoid_negative_ts": "disabled",  # else each fragment would start at 0
}


class FrameWriter:
    """Takes the frames of one video; made by `open_writer`.

    Attributes:
        path: path of the finished video.
        frames: how many were written.
    """

    def __init__(self, path: Path, size: tuple[int, int], encoder: Encoder) -> None:
        self.frames = 0
        self.path = path
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
            raise ValueError(f"{self.path} holds {self._size} frames, got {image.shape[:2]}.")
        with writing_to(self.path):
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
def open_writer(
    path: str | Path,
    fps: float,
    size: tuple[int, int],
    keep_partial: bool = False,
    record: bytes | None = None,
) -> Iterator[FrameWriter]:
    """A writer for `.mp4` (H.264), `.gif`, or (no suffix) a folder of lossless `00000.png` on.

    The result is made under another name beside `path` and renamed at the successful end; after an
    exception what was there before is untouched.

    Args:
        path: where to; missing parent folders are made, a file is replaced, a folder must be empty
            or new.
        fps: frames per second.
        size: (height, width) of every frame.
        keep_partial: make it as `partial_path(path)`, which can be played after every frame, and
            stays there, with the frames that were made, after an exception or a killed process.
        record: what made the video, for `record_path(path)`; it is never beside another one.

    Raises:
        UserError: an unknown suffix, a place that cannot be written or that another process is
            writing, or no frame written.
    """
    path = Path(path)
    make = _checked(path, fps)
    kept = partial_path(path) if keep_partial else None
    with alone(path), atomic_path(path, kept) as temporary:
        with writing_to(path):
            encoder = make(temporary, fps, size)
        writer = FrameWriter(path, size, encoder)
        try:
            yield writer
            if not writer.frames:
                raise UserError(f"No frame was made for {path}, so nothing was written.")
            with writing_to(path):
                encoder.finish()
        finally:
            with writing_to(path):  # closing flushes, and a full disk refuses that too
                encoder.close()
            if not writer.frames:
                remove(temporary)
        with writing_to(path):
            _put_record(path, record)


def _checked(path: Path, fps: float) -> Callable[[Path, float, tuple[int, int]], Encoder]:
    """What makes the encoder, for a place and a rate that can be written."""
    make = _encoder_for(path)
    if path.is_dir() and (path.suffix or any(path.iterdir())):
        raise UserError(f"{path} is a folder with something in it: remove it or name another.")
    if path.is_file() and not path.suffix:
        raise UserError(f"{path} is a file: remove it, or name a .mp4, a .gif or a new folder.")
    check_number("The frame rate must be above 0 and", fps, SLOWEST, FASTEST)
    return make


def partial_path(path: Path) -> Path:
    """The name of a video while it is made: `a.partial.mp4` for `a.mp4`."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def record_path(path: Path) -> Path:
    """The name of the record of what made a video: `a.mp4.json` for `a.mp4`."""
    return path.with_name(f"{path.name}.json")


def _put_record(path: Path, record: bytes | None) -> None:
    """Before a video gets its name: at no moment is a record beside a video that it is not of, and
    the former video stays until the disk has taken the record."""
    if record is None:  # the video replaces the former one itself
        record_path(path).unlink(missing_ok=True)
        return
    with atomic_path(record_path(path)) as temporary:
        temporary.write_bytes(record)
        if path.is_file():
            path.unlink()


class Mp4Encoder:
    """H.264 in yuv420p, which plays everywhere; odd sizes grow by a repeated row or column.

    Each frame is appended to the file as a fragment of its own, so that the file can be played
    after each; the end puts all of them into one, with its index in front. FFmpeg's muxer holds
    back the last fragment, hence a muxer a frame. An encoder that looks ahead would hold back
    more.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        height, width = size
        self._path = path
        self._file = path.open("w+b", buffering=0)
        self._codec = av.VideoCodecContext.create("libx264", "w")
        self._codec.height, self._codec.width = height + height % 2, width + width % 2
        self._codec.pix_fmt = "yuv420p"
        self._codec.framerate = Fraction(fps).limit_denominator(1001)
        self._codec.time_base = 1 / self._codec.framerate
        self._codec.options = {"crf": "17", "preset": "medium", "tune": "zerolatency"}
        self._codec.thread_count = 1  # more would cut each frame into slices
        self._codec.colorspace = self._codec.color_primaries = self._codec.color_trc = BT709
        self._codec.color_range = 1
        self._parameters: av.container.InputContainer | None = None
        self._next = 0

    def add(self, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(padded, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts = self._next
        (packet,) = self._codec.encode(frame)
        replace_end(self._file, self._file.seek(0, os.SEEK_END), self._fragment(packet))
        self._next += 1

    def finish(self) -> None:
        """Put the fragments into one."""
        with (
            atomic_path(self._path) as whole,
            av.open(f"file:{self._path}") as fragments,
            av.open(
                f"file:{whole}", "w", format="mp4", options={"movflags": "+faststart"}
            ) as container,
        ):
            stream = container.add_stream_from_template(fragments.streams.video[0])
            for packet in fragments.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    container.mux(packet)

    def close(self) -> None:
        self._file.close()
        if self._parameters is not None:
            self._parameters.close()

    def _fragment(self, packet: av.Packet) -> bytes:
        """The boxes `moof` and `mdat` of one frame; before the first, those of the header."""
        first = self._parameters is None
        if self._parameters is None:  # the first packet brings them
            self._parameters = av.open(io.BytesIO(bytes(packet)), "r", format="h264")
        buffer = io.BytesIO()
        options = {**FRAGMENT, "fragment_index": str(self._next + 1)}
        with av.open(buffer, "w", format="mp4", options=options) as muxer:
            stream = muxer.add_stream_from_template(self._parameters.streams.video[0])
            stream.time_base = packet.time_base = self._codec.time_base
            packet.duration, packet.stream = 1, stream
            muxer.mux(packet)
        kinds = {b"moof", b"mdat", *((b"ftyp", b"moov") if first else ())}
        return b"".join(box for kind, box in _boxes(buffer.getvalue()) if kind in kinds)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and bytes of each box of an MP4 file."""
    while data:
        length = int.from_bytes(data[:4], "big")
        yield data[4:8], data[:length]
        data = data[length:]


class GifFileEncoder(GifEncoder):
    """An animated GIF in a file of its own."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self._opened = path.open("w+b", buffering=0)
        super().__init__(self._opened, fps)

    def close(self) -> None:
        self._opened.close()


class PngFolderEncoder:
    """Lossless frames `00000.png`, `00001.png`, ... in a folder."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        path.mkdir()
        self._folder = path
        self._next = 0

    def add(self, image: np.ndarray) -> None:
        unfinished = self._folder / ".unfinished.png"
        try:
            Image.fromarray(image).save(unfinished)
            os.replace(unfinished, self._folder / f"{self._next:05d}.png")
        finally:
            unfinished.unlink(missing_ok=True)
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
