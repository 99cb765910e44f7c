"""What is collected while a video is decoded, frame by frame."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from data_prep.engine.failure import BadVideo, ErrorKind
from data_prep.measure.motion import ContentScore, analysis_size
from data_prep.measure.quality import EvenSample
from lightning_artv.media.container import (
    STORED_UPRIGHT,
    orientation,
    playable,
    promised_packets,
)
from lightning_artv.media.packets import COMPLETE, Ending, continuous


@dataclass(frozen=True)
class Clock:
    """When frames are shown.

    Attributes:
        times: times of each frame, ascending, in units of `base`.
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
        container: what it is of.
        stream: the video stream, on one thread.
        step: every how many frames one is scored; the others are only counted.

    Attributes:
        frames: decoded so far.
        content: the content scores.
        sample: evenly spaced pictures, for the other scores.
        codec: FFmpeg's name.
        damage: what a frame that cannot be decoded means: `damaged`, or `truncated`.
    """

    def __init__(self, container: InputContainer, stream: av.VideoStream, step: int) -> None:
        self.frames = 0
        self.content = ContentScore()
        self.sample = EvenSample(stream.frames // step)
        self.codec = stream.codec_context.name
        self.damage: ErrorKind = "damaged"
        self._stream = stream
        self._avi = container.format.name == "avi"
        self._promised = promised_packets(container, stream)
        self._ending = Ending(container, stream)
        self._container = container
        self._packets = 0
        self._due: list[int] = []
        self._step = step
        self._times: list[int | None] = []
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._reduced: tuple[int, int] | None = None
        self._small: Any = None
        self._orientation = STORED_UPRIGHT
        self._corrupt = 0

    def add(self, frame: av.VideoFrame) -> None:
        """Take the next frame; its picture is converted at most once."""
        position = self.frames
        self.frames += 1
        self._times.append(frame.pts if frame.pts is not None else frame.dts)
        self._corrupt += frame.is_corrupt
        if self._size is None:
            self._size = (frame.width, frame.height)
            self._reduced = analysis_size(*self._size)
            self._orientation = orientation(frame)
        # PySceneDetect leaves out frames of another size too
        if position % self._step == 0 and (frame.width, frame.height) == self._size:
            picture = self._picture(frame)
            self.content.add(picture)
            self.sample.offer(picture)

    def packets(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """The stream's own among a container's packets, from the first keyframe on; note is taken
        of when each one of any stream ends, and of whether the file ends inside it.
        """
        own = filter(self._note, packets)
        for packet in playable(continuous(self._container, self._stream, own)):
            time = packet.dts if self._avi else packet.pts
            time = packet.dts if time is None else time
            if time is not None and not packet.is_discard:
                self._due.append(time)
            yield packet

    def _note(self, packet: av.Packet) -> bool:
        """Whether a packet is one of the stream."""
        # PyAV's last packets, which are empty, all say that they are of stream 0
        own = packet.size > 0 and packet.stream is self._stream
        self._packets += own
        if packet.is_corrupt:
            self.damage = "truncated"
        self._ending.note(packet)
        return own

    def check(self) -> None:
        """Whether the whole video was there.

        Raises:
            BadVideo: damaged, truncated, or fewer than 2 frames to score.
        """
        if self._corrupt:
            raise BadVideo(self.damage, f"{self._corrupt} of {self.frames} frames are damaged")
        self._check_count()
        if self._ending.problem:
            raise BadVideo("truncated", self._ending.problem)
        if not self.content.scores:
            raise BadVideo("too_few_frames", f"it has {self.frames} frames, too few for motion")

    def _check_count(self) -> None:
        if not self._promised:
            return
        if self._packets < COMPLETE * self._promised - 1:
            raise BadVideo("truncated", f"it has {self.frames} of {self._promised} frames")
        times = [time for time in self._times if time is not None]
        first = min(times, default=0)  # a keyframe's, before which none is due
        due = sum(time >= first for time in set(self._due))
        shown = len(set(itertools.accumulate(times, max)))  # one that comes too late is not shown
        if shown < COMPLETE * due - 1:
            raise BadVideo("damaged", f"{shown} of {due} frames can be decoded")

    def clock(self) -> Clock:
        """The times of at least 2 frames; counted where there are none.

        An avi knows when its packets are decoded, and its frames are shown at those times in the
        order in which they come.
        """
        rate = Fraction(self._stream.guessed_rate or self._stream.average_rate or 25)
        base = self._stream.time_base
        times = [time for time in self._times if time is not None]
        if self._avi and len(self._due) == self.frames:
            times = sorted(self._due)
        gaps = np.diff(times)
        if base is None or len(times) < self.frames or gaps.min() <= 0:
            return Clock(list(range(self.frames)), 1 / rate, rate, float(rate), False)
        fps = float((self.frames - 1) / ((times[-1] - times[0]) * Fraction(base)))
        return Clock(times, Fraction(base), rate, fps, bool(gaps.max() > 1.5 * gaps.min()))

    def shown(self) -> tuple[int, int, int]:
        """(width, height, rotation): pixels after a rotation by degrees, in [0, 360)."""
        assert self._size is not None
        height, width = self._orientation.of_shown(*self._size[::-1])
        return width, height, 90 * self._orientation.quarter_turns

    def _picture(self, frame: av.VideoFrame) -> Any:
        """BGR `[H, W, 3 or 4]`, reduced as PySceneDetect does it; it may be the frame's memory.

        Both libraries are faster with 4 bytes per pixel than with 3, and the colours are the same;
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
