"""Video bytes -> the frames that are needed, and no others.

Timestamps come from the packets without decoding; decoding starts at the keyframe before the first
needed frame, stops at the last needed one, and only needed frames are converted to RGB and resized.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_artv.errors import DecodeError, UserError
from lightning_artv.media.container import (
    open_container,
    orientation,
    playable,
    promised_packets,
    to_rgb,
    video_stream,
)
from lightning_artv.media.packets import continuous, lacks_times_of_display

__all__ = ["DecodeError", "Video", "square"]


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
        timestamps: seconds since the first frame, ascending, one per frame. A frame that is shown
            before the first keyframe, and so cannot be decoded, is none.
        container: FFmpeg's name of the format, such as `mov,mp4,m4a,3gp,3g2,mj2`.
        size: stored (height, width) in pixels, before any rotation.
        aspect: width of a stored pixel over its height.
        decoded: how many frames were decoded so far.
        absent: how many packets the file's index promises that are not in it.

    Raises:
        DecodeError: the container cannot be opened, or holds no video frames.
    """

    def __init__(self, source: bytes | str | Path) -> None:
        self.decoded = 0
        try:
            self._container = open_container(source)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeError(f"not a readable video ({_reason(error)})") from error
        try:
            self._read_packets()
        except BaseException:
            self._container.close()
            raise

    def _read_packets(self) -> None:
        stream = video_stream(self._container)
        if stream is None:
            raise DecodeError("the file has no video stream")
        self._stream = stream
        stream.codec_context.thread_count = 1
        stream.thread_type = "NONE"
        self.size = (stream.height, stream.width)
        promised = promised_packets(self._container, stream)
        try:
            own = [p for p in self._container.demux(stream) if p.size]
            packets = list(continuous(self._container, stream, own))
        except av.FFmpegError as error:
            raise DecodeError(f"the container is damaged ({_reason(error)})") from error
        self.absent = max(0, promised - len(packets))
        self._packets = list(playable(packets))
        self._whole = len(self._packets) == len(packets)
        self._read_times()

    def _read_times(self) -> None:
        rate = self._stream.guessed_rate or self._stream.average_rate or 25
        base = self._stream.time_base
        self.container = self._container.format.name
        shown = self._shown()
        if base is None or not shown:
            raise DecodeError("the video stream has no frames")
        self._counted = lacks_times_of_display(self.container, self._stream, self._packets, shown)
        times = [_time(packet) for packet in shown]
        self._position: dict[int, int] = {}
        if self._counted or None in times:
            self._position = {t: number for number, t in enumerate(times) if t is not None}
        if None in times:  # a raw stream
            self._counted = True
            times = [round(k / rate / base) for k in range(len(shown))]
        self._times = sorted({time for time in times if time is not None})
        if not self._counted:
            self._times = self._decodable(self._times)
        start, ticks, seconds = self._times[0], base.numerator, base.denominator
        self.timestamps = [(time - start) * ticks / seconds for time in self._times]
        self.aspect = float(self._stream.sample_aspect_ratio or 1)

    def _shown(self) -> list[av.Packet]:
        """The packets whose pictures are to be seen.

        Matroska has no times before its start, where a cut may have left leading pictures; but a
        stream whose first keyframe is there too is whole, and its frames are counted.
        """
        shown = [packet for packet in self._packets if not packet.is_discard]
        if "matroska" not in self.container or not shown or shown[0].pts is None:
            return shown
        timed = [packet for packet in shown if packet.pts is not None]
        self.absent += len(shown) - len(timed)
        return timed

    def _decodable(self, times: list[int]) -> list[int]:
        """The times without the first ones for which the decoder gives no frame, if the stream
        does not start with its first keyframe or shows frames before it.
        """
        key = _time(self._packets[0])
        if key is None or (self._whole and times[0] >= key):
            return times
        try:
            found = {frame.pts for frame in self._decode(0, key, set(times))}
        except av.FFmpegError as error:
            raise DecodeError(f"decoding failed ({_reason(error)})") from error
        first = max((time for time in found if time is not None), default=key)
        return [time for time in times if time >= first or time in found]

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *why: object) -> None:
        self._container.close()

    @property
    def fps(self) -> float:
        """Mean frame rate; 0 for a single frame."""
        return (len(self.timestamps) - 1) / self.timestamps[-1] if self.timestamps[-1] else 0.0

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec, such as `h264`."""
        return str(self._stream.codec_context.name)

    def decode(self, first: int = 0) -> Iterator[av.VideoFrame]:
        """Every frame from one on as it is stored, in the order of `timestamps`, each decoded when
        it is asked for.

        Where packets were lost there may be fewer of them: `index` says which one a frame is.

        Raises:
            av.FFmpegError: a frame is damaged.
        """
        before = first - 1
        start = next(iter(self._runs([self._times[first]]))) if first else 0
        for frame in self._decode(start, self._times[-1], self._index):
            if self.index(frame) > before:  # a time that occurs twice counts once
                before = self.index(frame)
                yield frame

    @cached_property
    def _index(self) -> dict[int, int]:
        """Time -> where in `timestamps` it stands."""
        return {time: index for index, time in enumerate(self._times)}

    def index(self, frame: av.VideoFrame) -> int:
        """Where in `timestamps` a frame of `decode` stands."""
        assert frame.pts is not None
        return self._index[frame.pts]

    def frames(self, indices: Sequence[int], size: tuple[int, int] | None = None) -> Tensor:
        """Frames by their index in `timestamps`, in the order asked for, repetitions allowed.

        Upright, with square pixels.

        Args:
            indices: into `timestamps`.
            size: (height, width); frames are resized (antialiased) to cover it and cropped at the
                centre. None is the size at which the container says that it is to be shown; frames
                of another size, which a stream may have, are brought to it.

        Returns:
            uint8 `[N, 3, H, W]` in [0, 255].

        Raises:
            DecodeError: a needed frame is damaged or missing.
        """
        wanted = {self._times[index]: index for index in indices}
        images: dict[int, NDArray[np.uint8]] = {}
        try:
            for start, times in self._runs(sorted(wanted)).items():
                self._collect(start, times, size, images)
            # after a keyframe that is none quite (open group, gradual refresh)
            missing = sorted(wanted.keys() - images.keys())
            if missing:
                self._collect(0, missing, size, images)
        except (av.FFmpegError, ValueError) as error:
            raise DecodeError(f"decoding failed ({_reason(error)})") from error
        for time, index in wanted.items():
            if time not in images:
                raise DecodeError(f"frame {index} of {len(self._times)} could not be decoded")
        stacked = np.stack([images[self._times[index]] for index in indices])
        return torch.from_numpy(np.ascontiguousarray(stacked.transpose(0, 3, 1, 2)))

    def _collect(
        self,
        start: int,
        times: Sequence[int],
        size: tuple[int, int] | None,
        images: dict[int, NDArray[np.uint8]],
    ) -> None:
        """Decode from packet `start`, and keep the pictures of these times."""
        wanted = set(times)
        for frame in self._decode(start, times[-1], wanted):
            images[frame.pts or 0] = self._picture(frame, size)

    def _picture(self, frame: av.VideoFrame, size: tuple[int, int] | None) -> NDArray[np.uint8]:
        lies = orientation(frame)
        if size is None:
            stored = (self.size[0], max(1, round(self.size[1] * self.aspect)))
            size = lies.of_shown(*stored)
        return to_rgb(frame, size, self.aspect, lies)

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

    def _decode(self, start: int, last: int, wanted: Container[int]) -> Iterator[av.VideoFrame]:
        """The frames of the wanted times, as shown, from packet `start` until the decoder is past
        `last`; each has its own time as its pts.
        """
        context = self._stream.codec_context
        if self.decoded:
            context.flush_buffers()
        position = 0
        for packet in [*self._packets[start:], None]:
            for frame in context.decode(packet):
                self.decoded += 1
                if self._counted:
                    position = self._count(frame, position)
                elif frame.pts is None:
                    frame.pts = frame.dts
                time = frame.pts  # whoever takes the frame may give it another
                if time in wanted:
                    yield frame
                if time is not None and time >= last:
                    return

    def _count(self, frame: av.VideoFrame, position: int) -> int:
        """Give a frame the time of its position, and return the next one's."""
        if frame.key_frame and frame.pts is not None:  # it tells how many were lost before
            position = max(position, self._position.get(frame.pts, 0))
        frame.pts = self._times[position] if position < len(self._times) else None
        return position + 1


def _time(packet: av.Packet) -> int | None:
    return packet.pts if packet.pts is not None else packet.dts


def _reason(error: Exception) -> str:
    """One short line of a library's message."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
