"""A video file -> the mp4s that go into a shard."""

from __future__ import annotations

import io
import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av

from data_prep.x264 import ClipEncoder, Quality
from lightning_artv.data.clips import timeline
from lightning_artv.data.decode import DecodeError, Video
from lightning_artv.errors import UserError

_AHEAD = 8  # frames that are decoded before they are encoded


@dataclass(frozen=True)
class Limits:
    """What larger videos are reduced to.

    Attributes:
        size: pixels of the short side; None for no limit.
        fps: frames per second; None for no limit.
        gop: frames from a keyframe to the next; None for any in what is copied.
        quality: of what is encoded.
    """

    size: int | None = None
    fps: float | None = None
    gop: int | None = None
    quality: Quality = field(default_factory=Quality)

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 16:
            raise UserError(f"--size must be at least 16 pixels, got {self.size}.")
        if self.fps is not None and self.fps <= 0:
            raise UserError(f"--fps must be positive, got {self.fps:g}.")
        if self.gop is not None and self.gop < 1:
            raise UserError(f"--gop must be at least 1 frame, got {self.gop}.")


@dataclass(frozen=True)
class Prepared:
    """An mp4 ready to be stored.

    Attributes:
        video: its bytes.
        copied: whether they are the source's, unchanged.
        meta: width, height, fps, frames and duration (seconds) for `key.json`.
        start: seconds into the source.
    """

    video: bytes
    copied: bool
    meta: dict[str, Any]
    start: float = 0.0


def prepare(source: Path | bytes, limits: Limits) -> Prepared:
    """Copy an mp4 byte for byte where it is within the limits; else encode it as H.264.

    Raises:
        DecodeError: the file is no readable video, or has fewer than 2 frames.
    """
    clips = prepare_clips(source, limits)
    if not clips:
        raise DecodeError("fewer than 2 frames could be decoded")
    return clips[0]


def prepare_clips(
    source: Path | bytes, limits: Limits, cuts: Sequence[float] = (), min_seconds: float = 0.0
) -> list[Prepared]:
    """As `prepare`, but in pieces: one decode, one mp4 between each two cuts.

    Args:
        source: a file, or its bytes.
        limits: of every piece.
        cuts: seconds, ascending, where a new piece begins; without any, the video stays whole.
        min_seconds: shorter pieces of a video that is cut are left out, as are those of fewer than
            2 frames.

    Raises:
        DecodeError: the file is no readable video, or has fewer than 2 frames.
    """
    data = source if isinstance(source, bytes) else _read(source)
    with Video(data) as video:
        times = video.timestamps
        if len(times) < 2:
            raise DecodeError("it has only 1 frame")
        if not cuts and "mp4" in video.container and _within(video, data, limits):
            height, width = video.frames([0]).shape[-2:]
            return [Prepared(data, True, _meta(width, height, times))]
        rate = min(video.fps, limits.fps or video.fps)
        tick = None if _slow(video, limits) else limits.fps
        pieces = _pieces(times, cuts, min_seconds if cuts else 0.0, tick)
        return _encode(video, pieces, rate, limits)


def longest_gop(video: bytes) -> int:
    """The most frames from a keyframe to the one before the next, without decoding.

    Raises:
        DecodeError: no readable video.
    """
    try:
        with av.open(io.BytesIO(video), "r", metadata_errors="ignore") as reader:
            packets = (p for p in reader.demux(reader.streams.video[0]) if p.size)
            keys = [position for position, p in enumerate([*packets, None]) if _starts(p)]
    except (av.FFmpegError, OSError, IndexError) as error:
        raise DecodeError(f"the container is damaged ({error})") from error
    return max((after - before for before, after in itertools.pairwise(keys)), default=0)


def _starts(packet: av.Packet | None) -> bool:
    """Whether a keyframe, or the end of the stream, is here."""
    return packet is None or packet.is_keyframe


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DecodeError(f"the file cannot be read ({error.strerror})") from error


def _within(video: Video, data: bytes, limits: Limits) -> bool:
    small = limits.size is None or min(video.size) <= limits.size
    return small and _slow(video, limits) and (not limits.gop or longest_gop(data) <= limits.gop)


def _slow(video: Video, limits: Limits) -> bool:
    """Whether the frame rate is within the limit, give or take the rounding of timestamps."""
    return limits.fps is None or video.fps <= 1.01 * limits.fps


def _pieces(
    times: Sequence[float], cuts: Sequence[float], min_seconds: float, fps: float | None
) -> list[list[int]]:
    """The frames of each piece that is long enough, thinned out to `fps`."""
    # half a millisecond of grace: a cut's time was rounded when it was written down
    starts = [0, *(bisect_left(times, cut - 5e-4) for cut in cuts), len(times)]
    step = times[-1] / (len(times) - 1)
    pieces = []
    for start, end in itertools.pairwise(starts):
        if end - start < 2 or times[end - 1] - times[start] + step < min_seconds:
            continue
        piece = [start + index for index in timeline(times[start:end], fps)]
        if len(piece) > 1:
            pieces.append(piece)
    return pieces


def _encode(
    video: Video, pieces: Sequence[Sequence[int]], rate: float, limits: Limits
) -> list[Prepared]:
    """Encode each piece's frames at their own times, counted from the piece's first."""
    times = video.timestamps
    piece_of = {index: number for number, piece in enumerate(pieces) for index in piece}
    starts = [times[piece[0]] for piece in pieces]
    last = max(piece_of, default=-1)
    encoders = [ClipEncoder(rate, limits.gop or 12, limits.size, limits.quality) for _ in pieces]
    try:
        needed = itertools.islice(video.decode(), last + 1)
        for index, frame in enumerate(_ahead(needed)):
            number = piece_of.get(index)
            if number is not None:
                encoders[number].add(frame, video.aspect, times[index] - starts[number])
                if index == pieces[number][-1]:
                    encoders[number].finish()
        for encoder in encoders:
            encoder.finish()
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(f"it cannot be re-encoded ({error})") from error
    return [
        Prepared(encoder.video, False, _meta(*encoder.size, encoder.times), round(start, 4))
        for encoder, start in zip(encoders, starts, strict=True)
        if len(encoder.times) > 1
    ]


def _ahead(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The frames, decoded a few at a time: taking turns with x264 at every frame, the decoder finds
    nothing of its own left in the processor's caches, and is a tenth slower.
    """
    while few := list(itertools.islice(frames, _AHEAD)):
        yield from few


def _meta(width: int, height: int, times: Sequence[float]) -> dict[str, Any]:
    count = len(times)
    return {
        "width": width,
        "height": height,
        "fps": round((count - 1) / times[-1], 4) if times[-1] else 0.0,
        "frames": count,
        "duration": round(times[-1] * (1 + 1 / max(count - 1, 1)), 4),
    }
