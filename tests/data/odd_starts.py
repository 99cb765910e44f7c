"""More odd files: clocks that begin below or above 0, and streams without a container."""

from __future__ import annotations

import io
from collections.abc import Callable

import av
from odd_files import (
    FINE,
    H264,
    OPEN_GROUPS,
    VPX,
    X265,
    Recipe,
    _silence,
    add_stream,
    file,
    frames_of,
    remuxed,
)

MPEG2 = Recipe("mpeg2video", options=FINE, b_frames=2, gop=6)
MJPEG = Recipe("mjpeg", "yuvj420p", options=FINE, b_frames=0)
AV1 = Recipe("libsvtav1", options={"crf": "5", "preset": "12"}, b_frames=0, size=(64, 96))


def at(start: int, **changes: object) -> Recipe:
    """A recipe in milliseconds whose first frame is shown at `start`."""
    times = [start + round(1000 * k / 24) for k in range(12)]
    return Recipe(**{"gop": 6, "ticks": 1000, "times": times, **changes})  # type: ignore[arg-type]


def below_zero(shift: int, **changes: object) -> bytes:
    """An flv whose clock begins `shift` milliseconds before 0, and so runs over."""
    whole = file("flv", at(0, **changes))
    return remuxed(whole, "flv", shift=-shift, avoid_negative_ts="disabled")


def sound_first(container: str, codec: str) -> bytes:
    """Sound from 0 on, pictures from 1 s on."""
    buffer, recipe = io.BytesIO(), at(1000)
    with av.open(buffer, "w", format=container) as writer:
        audio = writer.add_stream(codec, rate=48000)
        stream = add_stream(writer, recipe)
        for packet in _silence(audio, 48000):
            writer.mux(packet)
        for frame in frames_of(recipe):
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode())
    return buffer.getvalue()


STARTS: dict[str, Callable[[], bytes]] = {
    "a little below 0.flv": lambda: below_zero(84),
    "half below 0.flv": lambda: below_zero(250),
    "half below 0, without B-frames.flv": lambda: below_zero(250, b_frames=0),
    "below 0.flv": lambda: below_zero(5000),
    "from 1 s.flv": lambda: file("flv", at(1000)),
    "from 1 s.mkv": lambda: file("matroska", at(1000)),
    "from 1 s, without B-frames.mkv": lambda: file("matroska", at(1000, b_frames=0)),
    "from 1 s.webm": lambda: file("webm", at(1000, codec="libvpx-vp9", options=VPX, b_frames=0)),
    "from 1 s.mp4": lambda: file("mp4", at(1000)),
    "from 1 s.avi": lambda: file(
        "avi",
        Recipe("mpeg4", options=FINE, b_frames=0, times=range(24, 36)),
    ),
    "from 1 s.mpg": lambda: file(
        "mpeg",
        Recipe("mpeg2video", options=FINE, gop=6, times=range(24, 36)),
    ),
    "from 1 s, after sound.mkv": lambda: sound_first("matroska", "libopus"),
    "from 1 s, after sound.mp4": lambda: sound_first("mp4", "aac"),
    "from 1 s, after sound.ts": lambda: sound_first("mpegts", "aac"),
    "from 1 s, after sound.flv": lambda: sound_first("flv", "aac"),
    "from 1 s, off a keyframe.mkv": lambda: remuxed(
        file("mp4", OPEN_GROUPS), "matroska", without=range(3), shift=12288
    ),
}
BARE: dict[str, Callable[[], bytes]] = {
    "bare.mjpeg": lambda: file("mjpeg", MJPEG),
    "bare.m4v": lambda: file("m4v", Recipe("mpeg4", options=FINE, b_frames=0)),
    "bare with B-frames.m4v": lambda: file("m4v", Recipe("mpeg4", options=FINE, gop=6)),
    "bare.hevc": lambda: file("hevc", Recipe("libx265", options=X265, size=(64, 96))),
    "bare.m2v": lambda: file("mpeg2video", MPEG2),
    "bare.m1v": lambda: file("mpeg1video", Recipe("mpeg1video", options=FINE, b_frames=0)),
    "bare.y4m": lambda: file("yuv4mpegpipe", Recipe("wrapped_avframe", options={}, b_frames=0)),
    "vp9.ivf": lambda: file("ivf", Recipe("libvpx-vp9", options=VPX, b_frames=0)),
    "av1.obu": lambda: file("obu", AV1),
    "mpeg2.mxf": lambda: file("mxf", Recipe("mpeg2video", options=FINE, b_frames=0, gop=1, fps=25)),
    "mpeg2.vob": lambda: file("vob", MPEG2),
    "h264.m2ts": lambda: file("mpegts", H264, mpegts_m2ts_mode="1"),
    "h264 with B-frames.asf": lambda: file("asf", H264),
    "h264.ismv": lambda: file("ismv", H264),
}
MORE_FILES = {**STARTS, **BARE}
MORE_SHAPES = {"bare.hevc": (64, 96), "av1.obu": (64, 96)}
