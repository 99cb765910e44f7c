"""What is collected while a video is decoded, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from data_prep.files import BadVideo, ErrorKind
from data_prep.motion import ContentScore, analysis_size
from data_prep.quality import EvenSample

_COMPLETE = 0.95  # of the frames that the header counts; edit lists may hide a few


@dataclass(frozen=True)
class Clock:
    """When frames are shown.

    Attributes:
        times: of each frame, ascending, in units of `base`.
        base: seconds.
        rate: the stream's nominal frame rate.
        fps: the mean frame rate.
        variable: whether some frame lasts more than 1.5 times as long as another.
    """

    times: list[int]
    base: Fraction
    rate: Fraction
    fps: float
    variable: bool


class DecodePass:
    """Takes every decoded frame of a stream once.

    Args:
        stream: the video stream, on one thread.
        step: every how many frames one is scored; the others are only counted.

    Attributes:
        frames: decoded so far.
        content: the content scores.
        sample: evenly spaced pictures, for the other scores.
        codec: FFmpeg's name.
        damage: what a frame that cannot be decoded means: `damaged`, or `truncated`.
    """

    def __init__(self, stream: av.VideoStream, step: int) -> None:
        self.frames = 0
        self.content = ContentScore()
        self.sample = EvenSample(stream.frames // step)
        self.codec = stream.codec_context.name
        self.damage: ErrorKind = "damaged"
        self._stream = stream
        self._expected = stream.frames
        self._step = step
        self._times: list[int | None] = []
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._reduced: tuple[int, int] | None = None
        self._small: Any = None
        self._rotation = 0
        self._corrupt = 0
        self._end = 0.0

    def add(self, frame: av.VideoFrame) -> None:
        """Take the next frame; its picture is converted at most once."""
        position = self.frames
        self.frames += 1
        self._times.append(frame.pts if frame.pts is not None else frame.dts)
        self._corrupt += frame.is_corrupt
        if self._size is None:
            self._size = (frame.width, frame.height)
            self._reduced = analysis_size(*self._size)
            self._rotation = round(frame.rotation) % 360
        # PySceneDetect leaves out frames of another size too
        if position % self._step == 0 and (frame.width, frame.height) == self._size:
            picture = self._picture(frame)
            self.content.add(picture)
            self.sample.offer(picture)

    def note(self, packet: av.Packet) -> None:
        """Take note of when a packet of any stream ends, and whether the file ends inside it."""
        if packet.is_corrupt:
            self.damage = "truncated"
        if not self._expected and packet.pts is not None and packet.time_base:
            end = (packet.pts + (packet.duration or 0)) * packet.time_base
            self._end = max(self._end, float(end))

    def check(self, seconds: float) -> None:
        """Whether the whole video was there.

        Args:
            seconds: how long the header says it is; only asked where it counts no frames (mkv).

        Raises:
            BadVideo: damaged, truncated, or fewer than 2 frames to score.
        """
        expected = self._expected
        if self._corrupt:
            raise BadVideo(self.damage, f"{self._corrupt} of {self.frames} frames are damaged")
        if self.frames < _COMPLETE * expected - 1:
            raise BadVideo("truncated", f"it has {self.frames} of {expected} frames")
        if not expected and self._end < _COMPLETE * seconds - 0.5:
            raise BadVideo("truncated", f"it ends after {self._end:.1f} of {seconds:.1f} s")
        if not self.content.scores:
            raise BadVideo("too_few_frames", f"it has {self.frames} frames, too few for motion")

    def clock(self) -> Clock:
        """The times of at least 2 frames; counted where the container's do not ascend (avi)."""
        rate = Fraction(self._stream.guessed_rate or self._stream.average_rate or 25)
        base = self._stream.time_base
        times = [time for time in self._times if time is not None]
        gaps = np.diff(times)
        if base is None or len(times) < self.frames or gaps.min() <= 0:
            return Clock(list(range(self.frames)), 1 / rate, rate, float(rate), False)
        fps = float((self.frames - 1) / ((times[-1] - times[0]) * Fraction(base)))
        return Clock(times, Fraction(base), rate, fps, bool(gaps.max() > 1.5 * gaps.min()))

    def shown(self) -> tuple[int, int, int]:
        """(width, height, rotation): pixels after a rotation by degrees, in [0, 360)."""
        assert self._size is not None
        width, height = self._size
        if round(self._rotation / 90) % 2:
            width, height = height, width
        return width, height, self._rotation

    def _picture(self, frame: av.VideoFrame) -> Any:
        """BGR `[H, W, 3 or 4]`, reduced as PySceneDetect does it; it may be the frame's memory.

        Both libraries are faster with 4 bytes a pixel than with 3, and the colours are the same;
        but FFmpeg leaves the last columns of such a picture unwritten where the width is no
        multiple of 8.
        """
        depth = 3 if frame.width % 8 else 4
        pixels = "bgr24" if depth == 3 else "bgra"
        plane: Any = self._reformatter.reformat(frame, format=pixels, threads=1).planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
        picture = rows[:, : depth * frame.width].reshape(frame.height, frame.width, depth)
        if self._reduced is None:
            return picture
        self._small = cv2.resize(picture, self._reduced, dst=self._small)
        return self._small
