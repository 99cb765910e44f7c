"""A video file -> the mp4s that go into a shard."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from data_prep.options import Limits
from data_prep.shards.x264 import ClipEncoder
from data_prep.sources.rows import ROUNDED, WHOLE, Span
from lightning_artv.data.decode import DecodeError, Video
from lightning_artv.data.timeline import timeline
from lightning_artv.media.container import open_container, video_stream
from lightning_artv.media.packets import COMPLETE, Ending

_AHEAD = 8  # frames that are decoded before they are encoded


@dataclass(frozen=True)
class Prepared:
    """An mp4 ready to be stored.

    Attributes:
        video: its bytes.
        copied: whether they are the source's, unchanged.
        meta: width, height, fps, frames and duration (seconds) for `key.json`; `lost` too, where
            frames between its first and last could not be decoded, which it holds without them.
        start: seconds into the source.
    """

    video: bytes
    copied: bool
    meta: dict[str, Any]
    start: float = 0.0


def prepare(source: Path | bytes, limits: Limits) -> Prepared:
    """Copy an mp4 byte for byte where it is within the limits and decodes as a whole; else encode
    what it holds as H.264.

    Raises:
        DecodeError: the file is no readable video, or has fewer than 2 frames, or damaged ones, or
            fewer than 95 % of those that its index promises.
    """
    clips = prepare_clips(source, limits)
    if not clips:
        raise DecodeError("fewer than 2 frames could be decoded")
    return clips[0]


def prepare_clips(
    source: Path | bytes,
    limits: Limits,
    cuts: Sequence[float] = (),
    min_seconds: float = 0.0,
    span: Span = WHOLE,
) -> list[Prepared]:
    """As `prepare`, but in pieces: one decode, one mp4 between each two cuts.

    Args:
        source: a file, or its bytes.
        limits: limits of every piece.
        cuts: seconds, ascending, where a new piece begins; without any, the video stays whole.
        min_seconds: shorter pieces of a video that is cut are left out, as are those of fewer than
            2 frames.
        span: what of the video is wanted.

    Raises:
        DecodeError: as `prepare`.
    """
    data = source if isinstance(source, bytes) else _read(source)
    with Video(data) as video:
        times = video.timestamps
        if len(times) < 2:
            raise DecodeError("it has only 1 frame")
        if len(times) < COMPLETE * (len(times) + video.absent) - 1:
            whole = len(times) + video.absent
            raise DecodeError(f"it is truncated: it has {len(times)} of {whole} frames")
        if "mp4" not in video.container:
            _check_end(data)
        copied = (
            span == WHOLE and not cuts and "mp4" in video.container and _within(video, data, limits)
        )
        if copied and _is_whole(video):
            height, width = video.frames([0]).shape[-2:]
            return [Prepared(data, True, meta_of(width, height, times))]
        rate = min(video.fps, limits.fps or video.fps)
        tick = None if _slow(video, limits) else limits.fps
        here = span.indices(times)
        shown = times[here.start : here.stop]
        pieces = _pieces(shown, cuts, min_seconds if cuts else 0.0, tick, here.start)
        return _encode(video, pieces, rate, limits)


def longest_gop(video: bytes) -> int:
    """The most frames from a keyframe to the one before the next, without decoding.

    Raises:
        DecodeError: no readable video.
    """
    try:
        with open_container(video) as reader:
            packets = (p for p in reader.demux(video_stream(reader)) if p.size)
            keys = [position for position, p in enumerate([*packets, None]) if _starts(p)]
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(f"the container is damaged ({error})") from error
    return max((after - before for before, after in itertools.pairwise(keys)), default=0)


def _starts(packet: av.Packet | None) -> bool:
    """Whether a keyframe, or the end of the stream, is here."""
    return packet is None or packet.is_keyframe


def _check_end(data: bytes) -> None:
    """Refuse a file that ends before its header says; an mp4's index is asked in its place."""
    with open_container(data) as reader:
        stream = video_stream(reader)
        assert stream is not None
        ending = Ending(reader, stream)
        for packet in reader.demux():
            ending.note(packet)
    if ending.problem:
        raise DecodeError(f"it is truncated: {ending.problem}")


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
    times: Sequence[float],
    cuts: Sequence[float],
    min_seconds: float,
    fps: float | None,
    first: int,
) -> list[list[int]]:
    """The frames of each piece that is long enough, thinned out to `fps`; the first frame is number
    `first`.
    """
    starts = [0, *(bisect_left(times, cut - ROUNDED) for cut in cuts), len(times)]
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    pieces = []
    for start, end in itertools.pairwise(starts):
        if end - start < 2 or times[end - 1] - times[start] + step < min_seconds:
            continue
        piece = [first + start + index for index in timeline(times[start:end], fps)]
        if len(piece) > 1:
            pieces.append(piece)
    return pieces


def _is_whole(video: Video) -> bool:
    """Whether every frame is there and can be decoded."""
    try:
        sound = sum(not frame.is_corrupt for frame in video.decode())
    except av.FFmpegError:
        return False
    return sound == len(video.timestamps) and not video.absent


def _encode(
    video: Video, pieces: Sequence[Sequence[int]], rate: float, limits: Limits
) -> list[Prepared]:
    """Encode each piece's frames at their own times, counted from the piece's first."""
    piece_of = {index: number for number, piece in enumerate(pieces) for index in piece}
    encoders = [ClipEncoder(rate, limits) for _ in pieces]
    found: list[list[int]] = [[] for _ in pieces]
    try:
        for index, frame in _frames(video, min(piece_of, default=0), max(piece_of, default=-1)):
            number = piece_of.get(index)
            if number is not None:
                found[number].append(index)
                time = video.timestamps[index] - video.timestamps[found[number][0]]
                encoders[number].add(frame, video.aspect, time)
                if index == pieces[number][-1]:
                    encoders[number].finish()
        return [
            _prepared(video, encoder, len(piece) - len(indices), indices[0])
            for piece, encoder, indices in zip(pieces, encoders, found, strict=True)
            if len(indices) > 1
        ]
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(f"it cannot be re-encoded ({error})") from error


def _prepared(video: Video, encoder: ClipEncoder, lost: int, first: int) -> Prepared:
    encoder.finish()
    meta = meta_of(*encoder.size, encoder.times) | ({"lost": lost} if lost else {})
    return Prepared(encoder.video, False, meta, round(video.timestamps[first], 4))


def _frames(video: Video, first: int, last: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frames from one to another, each with its index.

    They are decoded a few at a time: taking turns with x264 at every frame, the decoder finds
    nothing of its own left in the processor's caches, and is a tenth slower.

    Raises:
        DecodeError: damaged frames, or too few of an mp4's, whose index is exact.
    """
    seen = damaged = 0
    decoded = itertools.takewhile(lambda frame: video.index(frame) <= last, video.decode(first))
    while few := list(itertools.islice(decoded, _AHEAD)):
        seen += len(few)
        damaged += sum(frame.is_corrupt for frame in few)
        yield from ((video.index(frame), frame) for frame in few)
    if damaged:
        raise DecodeError(f"{damaged} of {seen} frames are damaged")
    wanted = last + 1 - first
    if "mp4" in video.container and seen < COMPLETE * wanted - 1:
        raise DecodeError(f"{seen} of {wanted} frames can be decoded")


def meta_of(width: int, height: int, times: Sequence[float]) -> dict[str, Any]:
    """The facts of an mp4 for `key.json`; `times` are seconds from its first frame."""
    count = len(times)
    return {
        "width": width,
        "height": height,
        "fps": round((count - 1) / times[-1], 4) if times[-1] else 0.0,
        "frames": count,
        "duration": round(times[-1] * (1 + 1 / max(count - 1, 1)), 4),
    }
