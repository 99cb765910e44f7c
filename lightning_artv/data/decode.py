"""Video bytes -> the frames that are needed, and no others.

Timestamps come from the packets without decoding; decoding starts at the keyframe before the first
needed frame, stops at the last needed one, and only needed frames are converted to RGB and resized.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import Interpolation
from numpy.typing import NDArray
from torch import Tensor

from lightning_artv.errors import UserError


class DecodeError(ValueError):
    """A video that cannot be read; the message says why."""


def square(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of an option that may be one number or two."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or min(pair) < 1:
        raise UserError(f"A frame size is one positive number or (height, width), got {size}.")
    return pair


class Video:
    """One video stream, its packets in memory and undecoded.

    Use as a context manager. Memory is that of the compressed stream.

    Args:
        source: the container's bytes, or a path; mp4, mkv, avi, webm, ...

    Attributes:
        timestamps: seconds since the first frame, ascending, one per frame.
        container: FFmpeg's name of the format, such as `mov,mp4,m4a,3gp,3g2,mj2`.
        size: stored (height, width) in pixels, before any rotation.
        aspect: width of a stored pixel over its height.
        decoded: how many frames were decoded so far.

    Raises:
        DecodeError: the container cannot be opened, or holds no video frames.
    """

    def __init__(self, source: bytes | str | Path) -> None:
        self.decoded = 0
        file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
        try:
            # Metadata in a legacy encoding must not make a video unreadable.
            self._container = av.open(file, "r", metadata_errors="ignore")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeError(f"not a readable video ({_reason(error)})") from error
        try:
            self._read_packets()
        except BaseException:
            self._container.close()
            raise

    def _read_packets(self) -> None:
        if not self._container.streams.video:
            raise DecodeError("the file has no video stream")
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = 1
        self._stream.thread_type = "NONE"
        try:
            self._packets = [p for p in self._container.demux(self._stream) if p.size]
        except av.FFmpegError as error:
            raise DecodeError(f"the container is damaged ({_reason(error)})") from error
        shown = {_time(p) for p in self._packets if not p.is_discard}
        self._times = sorted(time for time in shown if time is not None)
        if not self._times or self._stream.time_base is None:
            raise DecodeError("the video stream has no frames")
        base = float(self._stream.time_base)
        self.timestamps = [(time - self._times[0]) * base for time in self._times]
        self.container = self._container.format.name
        # An avi numbers its packets in decoding order, so the times of B-frames are wrong: its
        # frames are counted from the start, in the order in which the decoder shows them.
        self._counted = self.container == "avi"
        self.aspect = float(self._stream.sample_aspect_ratio or 1)
        self.size = (self._stream.height, self._stream.width)

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._container.close()

    @property
    def fps(self) -> float:
        """Mean frame rate; 0 for a single frame."""
        return (len(self.timestamps) - 1) / self.timestamps[-1] if self.timestamps[-1] else 0.0

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec, such as `h264`."""
        return str(self._stream.codec_context.name)

    def decode(self) -> Iterator[av.VideoFrame]:
        """Every frame as it is stored, in the order of `timestamps`; decoded when it is asked for.

        Raises:
            av.FFmpegError: a frame is damaged.
        """
        for _, frame in self._decode(0, self._times[-1]):
            yield frame

    def frames(self, indices: Sequence[int], size: tuple[int, int] | None = None) -> Tensor:
        """Frames by their index in `timestamps`, in the order asked for, repetitions allowed.

        Args:
            indices: into `timestamps`.
            size: (height, width); frames are resized (antialiased) to cover it and cropped at the
                centre. None keeps the stored size.

        Returns:
            uint8 `[N, 3, H, W]` in [0, 255].

        Raises:
            DecodeError: a needed frame is damaged or missing.
        """
        wanted = {self._times[index]: index for index in indices}
        images: dict[int, NDArray[np.uint8]] = {}
        try:
            for start, times in self._runs(sorted(wanted)).items():
                for time, frame in self._decode(start, times[-1]):
                    if time in wanted:
                        images[wanted[time]] = _to_rgb(frame, size, self.aspect)
        except (av.FFmpegError, ValueError) as error:
            raise DecodeError(f"decoding failed ({_reason(error)})") from error
        for index in wanted.values():
            if index not in images:
                raise DecodeError(f"frame {index} of {len(self._times)} could not be decoded")
        stacked = np.stack([images[index] for index in indices])
        return torch.from_numpy(np.ascontiguousarray(stacked.transpose(0, 3, 1, 2)))

    def _runs(self, times: Sequence[int]) -> dict[int, list[int]]:
        """Ascending times, grouped by the position of the keyframe packet to start decoding
        from.
        """
        if self._counted:
            return {0: list(times)}
        keyframes = [
            (time, position)
            for position, packet in enumerate(self._packets)
            if packet.is_keyframe and (time := _time(packet)) is not None
        ]
        runs: dict[int, list[int]] = {}
        for wanted in times:
            start = max((position for time, position in keyframes if time <= wanted), default=0)
            runs.setdefault(start, []).append(wanted)
        return runs

    def _decode(self, start: int, last: int) -> Iterator[tuple[int | None, av.VideoFrame]]:
        """Times and frames, as shown, from packet `start` until the decoder is past `last`."""
        context = self._stream.codec_context
        if self.decoded:
            context.flush_buffers()
        counted = iter(self._times)
        for packet in [*self._packets[start:], None]:
            for frame in context.decode(packet):
                self.decoded += 1
                given = frame.pts if frame.pts is not None else frame.dts
                time = next(counted, None) if self._counted else given
                yield time, frame
                if time is not None and time >= last:
                    return


def _time(packet: av.Packet) -> int | None:
    return packet.pts if packet.pts is not None else packet.dts


def _to_rgb(frame: av.VideoFrame, size: tuple[int, int] | None, aspect: float) -> NDArray[np.uint8]:
    """The frame upright, as uint8 `[H, W, 3]`, covering `size` and cropped to it.

    `aspect` is the width of a stored pixel over its height; it counts where `size` is given.
    """
    quarter_turns = round(frame.rotation / 90) % 4
    if size is None:
        return np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns)
    height, width = size if quarter_turns % 2 == 0 else size[::-1]
    shown_width = frame.width * aspect
    if (frame.height, frame.width) == (height, width) and aspect == 1:
        image = frame.to_ndarray(format="rgb24")
    else:
        scale = max(height / frame.height, width / shown_width)
        # Averaging over areas is what antialiases a reduction; an enlargement wants a smooth
        # kernel.
        kernel = Interpolation.AREA if scale < 1 else Interpolation.BICUBIC
        resized = frame.reformat(
            width=max(width, round(shown_width * scale)),
            height=max(height, round(frame.height * scale)),
            format="rgb24",
            interpolation=kernel,
        )
        image = _centre_crop(resized.to_ndarray(), height, width)
    return np.rot90(image, quarter_turns)


def _centre_crop(image: NDArray[Any], height: int, width: int) -> NDArray[np.uint8]:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _reason(error: Exception) -> str:
    """One short line of a library's message."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
