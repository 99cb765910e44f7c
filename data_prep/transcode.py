"""A video file -> the mp4 that goes into a shard."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation

from lightning_artv.data.clips import timeline
from lightning_artv.data.decode import DecodeError, Video
from lightning_artv.errors import UserError

_TICK = Fraction(1, 90000)
"""Seconds; times in a stored mp4 are multiples of it, which every usual frame rate divides."""

_RGB = 0
"""FFmpeg's number of the colour space of frames that hold RGB."""


@dataclass(frozen=True)
class Limits:
    """What larger videos are reduced to.

    Attributes:
        size: pixels of the short side; None for no limit.
        fps: frames per second; None for no limit.
    """

    size: int | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 16:
            raise UserError(f"--size must be at least 16 pixels, got {self.size}.")
        if self.fps is not None and self.fps <= 0:
            raise UserError(f"--fps must be positive, got {self.fps:g}.")


@dataclass(frozen=True)
class Prepared:
    """An mp4 ready to be stored.

    Attributes:
        video: its bytes.
        copied: whether they are the source's, unchanged.
        meta: width, height, fps, frames and duration (seconds) for `key.json`.
    """

    video: bytes
    copied: bool
    meta: dict[str, Any]


def prepare(path: Path, limits: Limits) -> Prepared:
    """Copy an mp4 byte for byte where it is within the limits; else encode it as H.264.

    Raises:
        DecodeError: the file is no readable video, or has fewer than 2 frames.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise DecodeError(f"the file cannot be read ({error.strerror})") from error
    with Video(source) as video:
        if len(video.timestamps) < 2:
            raise DecodeError("it has only 1 frame")
        copied = "mp4" in video.container and _within(video, limits)
        ticks = timeline(video.timestamps, None if _slow(video, limits) else limits.fps)
        times = {index: video.timestamps[index] for index in ticks}
        rate = min(video.fps, limits.fps or video.fps)
    stored = source if copied else _encode(source, times, rate, limits.size)
    with Video(stored) as video:
        height, width = video.frames([0]).shape[-2:]
        meta = {
            "width": width,
            "height": height,
            "fps": round(video.fps, 4),
            "frames": len(video.timestamps),
            "duration": round(video.timestamps[-1] * (1 + 1 / (len(video.timestamps) - 1)), 4),
        }
    return Prepared(stored, copied, meta)


def _within(video: Video, limits: Limits) -> bool:
    return (limits.size is None or min(video.size) <= limits.size) and _slow(video, limits)


def _slow(video: Video, limits: Limits) -> bool:
    """Whether the frame rate is within the limit, give or take the rounding of timestamps."""
    return limits.fps is None or video.fps <= 1.01 * limits.fps


def _encode(source: bytes, times: dict[int, float], rate: float, short_side: int | None) -> bytes:
    """The kept frames at their own times, as H.264 with a keyframe every 12 frames, so that a
    reader who wants a few frames decodes few."""
    buffer = io.BytesIO()
    options = {"crf": "18", "preset": "veryfast"}
    try:
        with (
            av.open(io.BytesIO(source), "r", metadata_errors="ignore") as reader,
            av.open(buffer, "w", format="mp4") as writer,
        ):
            stream = writer.add_stream("libx264", round(rate) or 1, options)
            stream.codec_context.time_base = _TICK
            stream.pix_fmt, stream.gop_size = "yuv420p", 12
            started = False
            aspect = float(reader.streams.video[0].sample_aspect_ratio or 1)
            for index, frame in enumerate(reader.decode(video=0)):
                if index not in times:
                    continue
                if not started:
                    height, width = _even_size(frame, aspect, short_side)
                upright = _upright(frame, height, width)
                if not started:
                    started = True
                    stream.height, stream.width = height, width
                    # The colour matrix is kept, and written down for the reader to use the same.
                    stream.codec_context.colorspace = upright.colorspace
                    stream.codec_context.color_range = upright.color_range
                upright.pts, upright.time_base = round(times[index] / _TICK), _TICK
                writer.mux(stream.encode(upright))
            if not started:
                raise DecodeError("no frame could be decoded")
            writer.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(f"it cannot be re-encoded ({error})") from error
    return buffer.getvalue()


def _even_size(frame: av.VideoFrame, aspect: float, short_side: int | None) -> tuple[int, int]:
    """(height, width) of the upright frame within the limit; even, because of 4:2:0 chroma."""
    height, width = frame.height, round(frame.width * aspect)
    if round(frame.rotation / 90) % 2:
        height, width = width, height
    scale = min(1.0, short_side / min(height, width)) if short_side else 1.0
    return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))


def _upright(frame: av.VideoFrame, height: int, width: int) -> av.VideoFrame:
    quarter_turns = round(frame.rotation / 90) % 4
    if quarter_turns:
        turned = np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns)
        pixels = np.ascontiguousarray(turned, dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    matrix = Colorspace.ITU601 if frame.colorspace == _RGB else None
    return frame.reformat(
        width=width,
        height=height,
        format="yuv420p",
        dst_colorspace=matrix,
        interpolation=Interpolation.AREA,
    )
