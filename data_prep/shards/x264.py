"""Frames -> an H.264 mp4 for training: upright, small, near keyframes, always the same bytes."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from data_prep.options import Limits
from lightning_artv.data.decode import DecodeError
from lightning_artv.media.container import STORED_UPRIGHT, Orientation, orientation, to_rgb

TICKS = 90000
"""In a second; times in a stored mp4 are whole ticks, which every usual frame rate divides."""

TICK = Fraction(1, TICKS)
"""Seconds."""

_REPEATABLE = "mbtree=0"
"""With its macroblock tree and B-frames, x264's assembly reads memory that it has not written, and
two runs differ in their bytes (seen in core 165; MALLOC_PERTURB_ shows it)."""

_RGB = 0
"""FFmpeg's number of the colour space of frames that hold RGB."""


class ClipEncoder:
    """Encodes one clip, frame by frame, in memory.

    Args:
        rate: frames per second, for the rate control; every frame has its own time.
        limits: size, quality, and frames from a keyframe to the next (12 without a limit), so that
            a reader who wants a few decodes few.

    Attributes:
        times: seconds of the frames so far.
        size: (width, height) of the stored frames.
        video: the mp4, once finished.
    """

    def __init__(self, rate: float, limits: Limits) -> None:
        self._rate, self._limits = round(rate) or 1, limits
        self._buffer = io.BytesIO()
        self._writer: av.container.OutputContainer | None = None
        self._scaler = VideoReformatter()
        self._shape = (0, 0, STORED_UPRIGHT)
        self.times: list[float] = []
        self.size = (0, 0)
        self.video = b""

    def add(self, frame: av.VideoFrame, aspect: float, time: float) -> None:
        """Encode a frame.

        Args:
            frame: as it was decoded.
            aspect: width of a stored pixel over its height.
            time: seconds since the clip's first frame, ascending.
        """
        lies = orientation(frame)
        shape = (frame.width, frame.height, lies)
        if self._writer is None:
            self._shape = shape
            self.size = _even_size(frame, aspect, lies, self._limits.size)
        elif shape != self._shape:  # the stream changes its size in the middle
            pixels = to_rgb(frame, self.size[::-1], aspect, lies)
            frame, lies = _of_rgb(pixels), STORED_UPRIGHT
        upright = _upright(frame, lies, *self.size, self._scaler)
        if self._writer is None:
            self._start(upright)
        ticks = round(time * TICKS)
        upright.pts, upright.time_base = ticks, TICK
        self._encode(upright)
        self.times.append(ticks / TICKS)

    def finish(self) -> None:
        """Complete the file; a second call does nothing.

        Raises:
            DecodeError: there was no frame.
        """
        if self.video:
            return
        if self._writer is None:
            raise DecodeError("no frame could be decoded")
        self._encode(None)
        self._writer.close()
        self.video = self._buffer.getvalue()

    def _encode(self, frame: av.VideoFrame | None) -> None:
        """x264's own work: a frame in, or the end, and packets out."""
        assert self._writer is not None
        self._writer.mux(self._stream.encode(frame))

    def _start(self, upright: av.VideoFrame) -> None:
        self._writer = av.open(self._buffer, "w", format="mp4")
        options = {
            "crf": str(self._limits.crf),
            "preset": self._limits.preset,
            "x264-params": _REPEATABLE,
        }
        self._stream = self._writer.add_stream("libx264", self._rate, options)
        context = self._stream.codec_context
        context.thread_count = 1  # with more, the bytes depend on the number of cores
        context.time_base = TICK
        self._stream.pix_fmt, self._stream.gop_size = "yuv420p", self._limits.gop or 12
        self._stream.width, self._stream.height = self.size
        # The colour matrix is kept, and written down for the reader to use the same.
        context.colorspace, context.color_range = upright.colorspace, upright.color_range


def _even_size(
    frame: av.VideoFrame, aspect: float, lies: Orientation, short_side: int | None
) -> tuple[int, int]:
    """(width, height) of the upright frame within the limit; even, because of 4:2:0 chroma."""
    height, width = lies.of_shown(frame.height, round(frame.width * aspect))
    scale = min(1.0, short_side / min(height, width)) if short_side else 1.0
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def _of_rgb(pixels: NDArray[np.uint8]) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")


def _upright(
    frame: av.VideoFrame, lies: Orientation, width: int, height: int, scaler: VideoReformatter
) -> av.VideoFrame:
    """The frame in yuv420p of a size; a scaler that is kept plans its work only once."""
    if lies != STORED_UPRIGHT:
        frame = _of_rgb(lies.upright(frame.to_ndarray(format="rgb24")))
    matrix = Colorspace.ITU601 if frame.colorspace == _RGB else None
    return scaler.reformat(
        frame,
        width=width,
        height=height,
        format="yuv420p",
        dst_colorspace=matrix,
        interpolation=Interpolation.AREA,
        threads=1,
    )
