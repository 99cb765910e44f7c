"""Videos as they come from cameras, editors, browsers and broken disks; made in a moment.

Frame k of each is a picture of four colours whose brightness tells k, so that a frame at the wrong
place, a mirrored or turned one, and wrong colours are all seen in a few numbers.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.stream import Disposition

FRAMES = 12


def picture(number: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Red, green, blue and grey quarters, uint8 `[H, W, 3]`, brighter with each number."""
    light = 40 + 16 * number
    image = np.full((height, width, 3), 30, np.uint8)
    top, left = height // 2, width // 2
    image[:top, :left, 0] = image[:top, left:, 1] = image[top:, :left, 2] = light
    image[top:, left:] = light
    return image


@dataclass(frozen=True)
class Recipe:
    """How a video is encoded; the fields are FFmpeg's."""

    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=lambda: {"crf": "4", "preset": "fast"})
    b_frames: int = 2
    gop: int = 12
    size: tuple[int, int] = (32, 48)
    fps: int = 24
    frames: int = FRAMES
    matrix: tuple[int, int, int, int] | None = None
    aspect: Fraction | None = None
    colorspace: int | None = None
    color_range: int | None = None
    ticks: int | None = None
    """Of a second; by default one a frame."""
    times: Sequence[int] | None = None
    """In ticks; by default one after another."""


FINE = {"qmin": "1", "qmax": "2"}
RUNS_OVER = 1 << 33
"""Ticks of a transport stream's clock, which then begins again."""
X265 = {"crf": "4", "preset": "fast", "x265-params": "log-level=none:bframes=2:pools=none"}
VPX = {"crf": "4", "b": "2M", "cpu-used": "8", "deadline": "realtime"}
FLV = 1000


def file(container: str, *recipes: Recipe, **muxer: str) -> bytes:
    """A file with a video stream for each recipe."""
    with _scheduled_as_ever():
        return _mux(container, recipes or (Recipe(),), muxer)


@contextmanager
def _scheduled_as_ever() -> Iterator[None]:
    """SVT-AV1, run by root, puts its caller's thread on the real-time scheduler for good: all that
    the tests then start takes the processors from everybody else.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def with_sound(container: str, codec: str, rate: int = 48000) -> bytes:
    """A file whose first stream is sound, a little longer than its pictures."""
    return _mux(container, (Recipe(),), {}, codec, rate)


def _mux(
    container: str,
    recipes: Sequence[Recipe],
    muxer: dict[str, str],
    sound: str = "",
    rate: int = 48000,
) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options=muxer) as writer:
        audio: Any = writer.add_stream(sound, rate=rate) if sound else None
        streams = [(recipe, add_stream(writer, recipe)) for recipe in recipes]
        if audio is not None:
            for packet in _silence(audio, rate):
                writer.mux(packet)
        for recipe, stream in streams:
            for frame in frames_of(recipe):
                writer.mux(stream.encode(frame))
            writer.mux(stream.encode())
    return buffer.getvalue()


def _silence(stream: Any, rate: int) -> list[av.Packet]:
    layout = stream.layout.name
    format_name = stream.format.name
    packets = []
    size = stream.codec_context.frame_size or 1024
    for start in range(0, int(0.6 * rate), size):
        frame = av.AudioFrame(format=format_name, layout=layout, samples=size)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts = rate, start
        frame.time_base = Fraction(1, rate)
        packets += stream.encode(frame)
    return [*packets, *stream.encode()]


def add_stream(writer: Any, recipe: Recipe) -> Any:
    stream = writer.add_stream(recipe.codec, rate=recipe.fps, options=dict(recipe.options))
    stream.height, stream.width = recipe.size
    stream.pix_fmt = recipe.pix_fmt
    stream.gop_size = recipe.gop
    context = stream.codec_context
    context.max_b_frames = recipe.b_frames
    context.thread_count = 1
    context.time_base = Fraction(1, recipe.ticks or recipe.fps)
    if recipe.aspect is not None:
        context.sample_aspect_ratio = recipe.aspect
    if recipe.colorspace is not None:
        context.colorspace = recipe.colorspace
    if recipe.color_range is not None:
        context.color_range = recipe.color_range
    if recipe.matrix is not None:
        a, b, c, d = (value << 16 for value in recipe.matrix)
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
    return stream


def frames_of(recipe: Recipe) -> list[av.VideoFrame]:
    frames = []
    for number in range(recipe.frames):
        frame = av.VideoFrame.from_ndarray(picture(number, *recipe.size), format="rgb24")
        converted = frame.reformat(
            format=recipe.pix_fmt,
            dst_colorspace=recipe.colorspace,
            dst_color_range=recipe.color_range,
        )
        converted.pts = recipe.times[number] if recipe.times else number
        converted.time_base = Fraction(1, recipe.ticks or recipe.fps)
        frames.append(converted)
    return frames


def remuxed(
    data: bytes,
    container: str,
    without: Sequence[int] = (),
    shift: int = 0,
    **muxer: str,
) -> bytes:
    """The packets of a file in another, without some of them, shifted by ticks."""
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(data)) as reader,
        av.open(buffer, "w", format=container, options=muxer) as writer,
    ):
        source = reader.streams.video[0]
        stream = writer.add_stream_from_template(source)
        packets = (packet for packet in reader.demux(source) if packet.size)
        for number, packet in enumerate(packets):
            if number not in without:
                if shift:
                    packet.pts += shift
                    packet.dts += shift
                packet.stream = stream
                writer.mux(packet)
    return buffer.getvalue()


def poster_first() -> bytes:
    """A film whose first stream is its poster."""
    film = file("mp4", H264)
    poster = Recipe("mjpeg", "yuvj420p", FINE, b_frames=0, frames=1, size=(64, 96))
    buffer = io.BytesIO()
    with av.open(io.BytesIO(film)) as reader, av.open(buffer, "w", format="mp4") as writer:
        still = add_stream(writer, poster)
        still.disposition = Disposition.attached_pic
        source = reader.streams.video[0]
        stream = writer.add_stream_from_template(source)
        for frame in frames_of(poster):
            writer.mux([*still.encode(frame), *still.encode()])
        for packet in reader.demux(source):
            if packet.size:
                packet.stream = stream
                writer.mux(packet)
    return buffer.getvalue()


def resized(codec: str, container: str) -> bytes:
    """A call whose picture shrinks in the middle, as a browser records it."""
    buffer = io.BytesIO()
    recipe = Recipe(codec, options=VPX, b_frames=0, frames=6)
    small = Recipe(codec, options=VPX, b_frames=0, frames=6, size=(16, 24))
    with av.open(io.BytesIO(), "w", format=container) as other:
        second = add_stream(other, small)
        late = [p for f in frames_of(small) for p in second.encode(f)] + second.encode()
    with av.open(buffer, "w", format=container) as writer:
        stream = add_stream(writer, recipe)
        first = [p for f in frames_of(recipe) for p in stream.encode(f)] + stream.encode()
        for packet in first:
            writer.mux(packet)
        for number, packet in enumerate(late, len(first)):
            packet.pts = packet.dts = number
            packet.time_base = Fraction(1, recipe.fps)
            packet.stream = stream
            writer.mux(packet)
    return buffer.getvalue()


def timecode_first() -> bytes:
    """A mov with the data track of its time code, as cameras and editors write it."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mov") as writer:
        stream = add_stream(writer, Recipe())
        stream.metadata["timecode"] = "01:00:00:00"
        for frame in frames_of(Recipe()):
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode())
    return buffer.getvalue()


def with_text() -> bytes:
    """A file that begins with a stream of subtitles."""
    subtitles = b"1\n00:00:00,000 --> 00:00:00,400\nHello\n\n"
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(subtitles), format="srt") as text,
        av.open(buffer, "w", format="matroska") as writer,
    ):
        source = text.streams.subtitles[0]
        lines = writer.add_stream_from_template(source)
        stream = add_stream(writer, Recipe())
        for packet in text.demux(source):
            if packet.size:
                packet.stream = lines
                writer.mux(packet)
        for frame in frames_of(Recipe()):
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode())
    return buffer.getvalue()


def packed_slots(codec: str, b_frames: int) -> bytes:
    """An avi at a variable rate: its header counts slots, of which many are empty."""
    return file(
        "avi",
        Recipe(
            codec,
            options=FINE if codec != "libx264" else {"crf": "4"},
            b_frames=b_frames,
            times=[0, 1, 2, 6, 7, 8, 9, 20, 21, 22, 23, 24],
        ),
    )


OPEN_GROUPS = Recipe(
    options={"crf": "4", "x264-params": "open-gop=1:keyint=6:min-keyint=6:scenecut=0:bframes=3"},
    b_frames=3,
    frames=13,
)
H264 = Recipe(gop=6)
REFRESHED = Recipe(
    options={"crf": "4", "x264-params": "intra-refresh=1:keyint=5:bframes=0"},
    b_frames=0,
    size=(64, 96),
)
UNEVEN = [0, 40, 50, 300, 340, 380, 1000, 1040, 1080, 1100, 1900, 2000]
TURNS = {
    "mirrored": (-1, 0, 0, 1),
    "upside down mirrored": (1, 0, 0, -1),
    "half turn": (-1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transposed the other way": (0, -1, -1, 0),
    "clockwise": (0, 1, -1, 0),
    "counter-clockwise": (0, -1, 1, 0),
}


def _plain(codec: str, pix_fmt: str = "yuv420p", **changes: Any) -> Recipe:
    return Recipe(codec, pix_fmt, **{"options": {}, "b_frames": 0, **changes})


def _fine(codec: str, **changes: Any) -> Recipe:
    return _plain(codec, **{"options": FINE, **changes})


CONTAINERS: dict[str, Callable[[], bytes]] = {
    "h264.mp4": lambda: file("mp4", H264),
    "h264.mov": lambda: file("mov", H264),
    "h264.mkv": lambda: file("matroska", H264),
    "h264.ts": lambda: file("mpegts", H264),
    "h264.flv": lambda: file("flv", Recipe(gop=6, ticks=FLV, times=[42 * k for k in range(12)])),
    "h264.avi": lambda: file("avi", H264),
    "h264 without B-frames.avi": lambda: file("avi", Recipe(b_frames=0)),
    "h264.nut": lambda: file("nut", H264),
    "h264.asf": lambda: file("asf", Recipe(b_frames=0)),
    "h264.3gp": lambda: file("3gp", H264),
    "fragmented.mp4": lambda: file("mp4", H264, movflags="frag_keyframe+empty_moov"),
    "raw.h264": lambda: file("h264", Recipe(b_frames=0)),
    "raw with B-frames.h264": lambda: file("h264", H264),
}
CODECS: dict[str, Callable[[], bytes]] = {
    "hevc.mp4": lambda: file("mp4", Recipe("libx265", options=X265, size=(64, 96))),
    "hevc.mkv": lambda: file("matroska", Recipe("libx265", options=X265, size=(64, 96))),
    "hevc.ts": lambda: file("mpegts", Recipe("libx265", options=X265, size=(64, 96))),
    "av1.mp4": lambda: file(
        "mp4", _plain("libsvtav1", options={"crf": "5", "preset": "12"}, size=(64, 96))
    ),
    "vp8.webm": lambda: file("webm", _plain("libvpx", options=VPX)),
    "vp8 with hidden frames.webm": lambda: file(
        "webm",
        _plain(
            "libvpx", options={"crf": "4", "b": "2M", "auto-alt-ref": "1", "lag-in-frames": "8"}
        ),
    ),
    "vp9.webm": lambda: file("webm", _plain("libvpx-vp9", options=VPX)),
    "vp9.mp4": lambda: file("mp4", _plain("libvpx-vp9", options=VPX)),
    "mpeg1.mpg": lambda: file("mpeg", _fine("mpeg1video", b_frames=2)),
    "mpeg2.ts": lambda: file("mpegts", _fine("mpeg2video", b_frames=2, gop=6)),
    "mpeg2.mpg": lambda: file("mpeg", _fine("mpeg2video", b_frames=2, gop=6)),
    "mpeg4.avi": lambda: file("avi", _fine("mpeg4")),
    "mpeg4 with B-frames.avi": lambda: file("avi", _fine("mpeg4", b_frames=2, gop=6)),
    "mpeg4 with B-frames.mp4": lambda: file("mp4", _fine("mpeg4", b_frames=2, gop=6)),
    "msmpeg4.avi": lambda: file("avi", _fine("msmpeg4")),
    "wmv2.asf": lambda: file("asf", _fine("wmv2")),
    "flv1.flv": lambda: file("flv", _fine("flv", ticks=FLV, times=[42 * k for k in range(12)])),
    "h263.3gp": lambda: file("3gp", _fine("h263", size=(96, 128))),
    "mjpeg.avi": lambda: file("avi", _fine("mjpeg", pix_fmt="yuvj420p")),
    "mjpeg.mkv": lambda: file("matroska", _fine("mjpeg", pix_fmt="yuvj420p")),
    "ffv1.mkv": lambda: file("matroska", _plain("ffv1")),
    "huffyuv.avi": lambda: file("avi", _plain("huffyuv", "yuv422p")),
    "raw.avi": lambda: file("avi", _plain("rawvideo", "yuv420p")),
    "png.mov": lambda: file("mov", _plain("png", "rgb24")),
    "qtrle.mov": lambda: file("mov", _plain("qtrle", "rgb24")),
    "picture.gif": lambda: file("gif", _plain("gif", "rgb8", fps=20)),
    "picture.apng": lambda: file("apng", _plain("apng", "rgb24")),
}
COLOURS: dict[str, Callable[[], bytes]] = {
    "444.mp4": lambda: file("mp4", Recipe(pix_fmt="yuv444p")),
    "422.mp4": lambda: file("mp4", Recipe(pix_fmt="yuv422p")),
    "10 bit.mp4": lambda: file("mp4", Recipe(pix_fmt="yuv420p10le")),
    "rgb.mp4": lambda: file("mp4", Recipe("libx264rgb", "rgb24")),
    "grey.mp4": lambda: file("mp4", Recipe(pix_fmt="gray")),
    "bt709.mp4": lambda: file("mp4", Recipe(colorspace=1)),
    "full range.mp4": lambda: file("mp4", Recipe(color_range=2)),
    "bt709 full range.mkv": lambda: file("matroska", Recipe(colorspace=1, color_range=2)),
    "alpha.mov": lambda: file("mov", _plain("png", "rgba")),
}
ORIENTATIONS: dict[str, Callable[[], bytes]] = {
    **{
        f"{name}.mp4": lambda matrix=matrix: file("mp4", Recipe(matrix=matrix))
        for name, matrix in TURNS.items()
    },
    "clockwise.mov": lambda: file("mov", Recipe(matrix=TURNS["clockwise"])),
    "wide pixels.mp4": lambda: file("mp4", Recipe(aspect=Fraction(2))),
    "tall pixels.mkv": lambda: file("matroska", Recipe(aspect=Fraction(1, 2))),
    "wide pixels, clockwise.mp4": lambda: file(
        "mp4", Recipe(aspect=Fraction(2), matrix=TURNS["clockwise"])
    ),
    "wide pixels.ts": lambda: file("mpegts", _fine("mpeg2video", aspect=Fraction(32, 27))),
}
TIMES: dict[str, Callable[[], bytes]] = {
    "uneven.mp4": lambda: file("mp4", Recipe(ticks=1000, times=UNEVEN)),
    "uneven.mkv": lambda: file("matroska", Recipe(ticks=1000, times=UNEVEN)),
    "starts late.mp4": lambda: remuxed(file("mp4", H264), "mp4", shift=60000),
    "starts late.ts": lambda: remuxed(file("mpegts", H264), "mpegts", shift=10**7),
    "trimmed.mp4": lambda: remuxed(
        file("mp4", Recipe(gop=250)), "mp4", shift=-2048, avoid_negative_ts="disabled"
    ),
    "joined.ts": lambda: file("mpegts", H264) * 2,
    "joined to an earlier one.ts": lambda: (
        remuxed(file("mpegts", H264), "mpegts", shift=10**8) + file("mpegts", H264)
    ),
    "joined to a later one.ts": lambda: (
        file("mpegts", H264) + remuxed(file("mpegts", H264), "mpegts", shift=10**8)
    ),
    "joined.mpg": lambda: file("mpeg", _fine("mpeg2video", b_frames=2, gop=6)) * 2,
    "clock runs over.ts": lambda: remuxed(
        file("mpegts", Recipe(gop=6, fps=2)), "mpegts", shift=RUNS_OVER - 400_000
    ),
    "slow.mp4": lambda: file("mp4", Recipe(fps=1)),
    "fast.mkv": lambda: file("matroska", Recipe(fps=250)),
    "empty slots.avi": lambda: packed_slots("mpeg4", 0),
    "empty slots, h264.avi": lambda: packed_slots("libx264", 0),
}
STREAMS: dict[str, Callable[[], bytes]] = {
    "aac first.mp4": lambda: with_sound("mp4", "aac"),
    "mp3 first.mkv": lambda: with_sound("matroska", "libmp3lame"),
    "pcm first.avi": lambda: with_sound("avi", "pcm_s16le"),
    "pcm first.mov": lambda: with_sound("mov", "pcm_s16le"),
    "opus first.mkv": lambda: with_sound("matroska", "libopus"),
    "aac first.ts": lambda: with_sound("mpegts", "aac"),
    "time code.mov": timecode_first,
    "subtitles first.mkv": with_text,
    "small before large.mkv": lambda: file(
        "matroska", Recipe(size=(16, 24), frames=6), Recipe(size=(64, 96))
    ),
    "poster first.mp4": poster_first,
}
DAMAGE: dict[str, Callable[[], bytes]] = {
    "open groups.mp4": lambda: file("mp4", OPEN_GROUPS),
    "off a keyframe.mp4": lambda: remuxed(file("mp4", OPEN_GROUPS), "mp4", without=range(3)),
    "off a keyframe.ts": lambda: remuxed(file("mpegts", H264), "mpegts", without=range(2)),
    "off a keyframe, mpeg2.ts": lambda: remuxed(
        file("mpegts", _fine("mpeg2video", b_frames=2, gop=6)), "mpegts", without=range(2)
    ),
    "lost packets.ts": lambda: remuxed(file("mpegts", H264), "mpegts", without=(4, 5)),
    "lost packets.mkv": lambda: remuxed(file("matroska", H264), "matroska", without=(4, 5)),
    "gradual refresh.mp4": lambda: file("mp4", REFRESHED),
    "gradual refresh, off its start.ts": lambda: remuxed(
        file("mpegts", REFRESHED), "mpegts", without=range(2)
    ),
    "interlaced.mp4": lambda: file("mp4", Recipe(options={"crf": "4", "x264-params": "tff=1"})),
    "interlaced.mpg": lambda: file(
        "mpeg", _fine("mpeg2video", options={**FINE, "flags": "+ildct+ilme"}, b_frames=2)
    ),
    "rubbish at the end.mp4": lambda: file("mp4", H264) + b"rubbish" * 100,
    "rubbish before.ts": lambda: b"x" * 500 + file("mpegts", H264),
    "shrinks, vp8.webm": lambda: resized("libvpx", "webm"),
    "shrinks, vp9.webm": lambda: resized("libvpx-vp9", "webm"),
}
GROUPS = (CONTAINERS, CODECS, COLOURS, ORIENTATIONS, TIMES, STREAMS, DAMAGE)
ODD_FILES: dict[str, Callable[[], bytes]] = {
    name: make for group in GROUPS for name, make in group.items()
}
SHAPES = {
    "wide pixels.mp4": (32, 96),
    "tall pixels.mkv": (32, 24),
    "wide pixels, clockwise.mp4": (96, 32),
    "wide pixels.ts": (32, 57),
    "transposed.mp4": (48, 32),
    "transposed the other way.mp4": (48, 32),
    "clockwise.mp4": (48, 32),
    "clockwise.mov": (48, 32),
    "counter-clockwise.mp4": (48, 32),
    "small before large.mkv": (64, 96),
    "av1.mp4": (64, 96),
    "gradual refresh.mp4": (64, 96),
    "gradual refresh, off its start.ts": (64, 96),
    "h263.3gp": (96, 140),
    "hevc.mp4": (64, 96),
    "hevc.mkv": (64, 96),
    "hevc.ts": (64, 96),
}
"""(height, width) with square pixels of those that are not 32 x 48; H.263's are 12:11."""
