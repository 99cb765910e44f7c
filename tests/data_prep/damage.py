"""Videos as they really are, and as they really break; made in a moment."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from lightning_artv.data.encode import encode_lossless


def moving(frames: int, height: int = 96, width: int = 128, speed: int = 3) -> np.ndarray:
    """A colourful texture that shifts by `speed` pixels a frame: uint8 `[T, H, W, 3]`."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8) + 64, 3), dtype=np.uint8)
    wide = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height]
    starts = [(k * speed) % (wide.shape[1] - width) for k in range(frames)]
    return np.stack([wide[:, start : start + width] for start in starts])


def encode(
    frames: np.ndarray,
    fps: int = 24,
    times_ms: Sequence[int] | None = None,
    container: str = "mp4",
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    title: bytes = b"",
    x264: str = "",
) -> bytes:
    """Frames as H.264 with B-frames, at `fps` or at the given times; odd sizes need yuv444p."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as writer:
        if title:
            writer.metadata["title"] = title.decode("ascii")
        options = {"preset": "ultrafast", "bf": "2", **({"x264-params": x264} if x264 else {})}
        stream = writer.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        base = Fraction(1, 1000) if times_ms is not None else Fraction(1, fps)
        stream.codec_context.time_base = base
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.time_base, frame.pts = base, index if times_ms is None else times_ms[index]
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode())
    return buffer.getvalue()


def index_first(video: bytes, path: Path) -> bytes:
    """The mp4 with its index before its pictures, as the web serves it."""
    with (
        av.open(io.BytesIO(video)) as reader,
        av.open(str(path), "w", options={"movflags": "faststart"}) as writer,
    ):
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                writer.mux(packet)
    data = path.read_bytes()
    path.unlink()
    return data


def rotated(video: bytes) -> bytes:
    """The mp4 with a display matrix that turns it by a quarter."""
    data = bytearray(video)
    one, minus_one = (1 << 16).to_bytes(4, "big"), (-1 << 16).to_bytes(4, "big", signed=True)
    zero = bytes(4)
    upright = one + zero * 3 + one
    start = data.index(upright, data.index(b"tkhd"))
    data[start : start + 20] = zero + one + zero + minus_one + zero
    return bytes(data)


def cp1251_title(frames: np.ndarray) -> bytes:
    """An mp4 whose title is Russian in cp1251: a plain `av.open` raises UnicodeDecodeError."""
    title = "Голубь на трубе".encode("cp1251")
    stand_in = b"T" * len(title)
    return encode(frames, title=stand_in).replace(stand_in, title)


def sound() -> bytes:
    """A second of audio."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(bytes(16000))
    return buffer.getvalue()


def write_damage(folder: Path) -> dict[str, str | None]:
    """Write a folder of videos; file name -> the error kind it is to give, None for a good one."""
    good = encode(moving(30))
    indexed = index_first(good, folder / "indexed.mp4")
    picture = moving(1)
    hidden = encode_lossless(moving(4), 8)
    broken = bytearray(good)
    middle = good.index(b"mdat") + len(good) // 2
    broken[middle : middle + 3000] = bytes(3000)
    # FFmpeg hides this damage, and only flags the frame
    concealed = bytearray(encode(moving(30), container="avi", codec="mpeg4"))
    middle = len(concealed) // 2
    concealed[middle : middle + 40] = b"\xff" * 40
    files: dict[str, tuple[bytes, str | None]] = {
        "good.mp4": (good, None),
        "no_index.mp4": (good[: len(good) * 6 // 10], "damaged"),
        "truncated.mp4": (indexed[: len(indexed) * 6 // 10], "truncated"),
        "broken.mp4": (bytes(broken), "damaged"),
        "concealed.avi": (bytes(concealed), "damaged"),
        "zero.mp4": (b"", "empty_file"),
        "text.mp4": (b"This is no video at all.\n" * 50, "not_a_video"),
        "playlist.mp4": (b"#EXTM3U\n#EXTINF:1,\ngood.mp4\n#EXT-X-ENDLIST\n", "not_a_video"),
        "concat.mp4": (b"ffconcat version 1.0\nfile good.mp4\n", "not_a_video"),
        "audio.mp4": (sound(), "no_video_stream"),
        "one.mp4": (encode(picture), "too_few_frames"),
        "variable.mkv": (
            encode(moving(6), times_ms=[0, 40, 80, 240, 280, 320], container="matroska"),
            None,
        ),
        "rotated.mp4": (rotated(hidden), None),
        "uhd.mp4": (encode(moving(3, 2160, 3840)), None),
        "odd.mp4": (encode(moving(5, 61, 77), pix_fmt="yuv444p"), None),
        "cp1251.mp4": (cp1251_title(moving(5)), None),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    return {name: kind for name, (_, kind) in files.items()} | {"absent.mp4": "missing_file"}
