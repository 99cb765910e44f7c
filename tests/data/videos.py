"""Videos made for tests: every frame carries its own number in its brightness."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.tar import ShardWriter


def numbered(frames: int, height: int = 32, width: int = 32) -> np.ndarray:
    """Frame k is uniformly 20 + 5 k (up to 47 frames)."""
    levels = (20 + 5 * np.arange(frames)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3)).copy()


def number(frame: Any) -> int:
    """The number of a frame of `numbered`."""
    return round((float(frame.float().mean()) - 20) / 5)


def encode(
    frames: np.ndarray,
    container: str = "mp4",
    codec: str = "libx264",
    gop: int = 12,
    b_frames: int = 2,
    times_ms: Sequence[int] | None = None,
) -> bytes:
    """Frames as a slightly lossy video with B-frames; at 24 fps or at the given times."""
    buffer = io.BytesIO()
    times = times_ms or [round(k * 1000 / 24) for k in range(len(frames))]
    with av.open(buffer, "w", format=container) as writer:
        fine = (
            {"crf": "1", "sc_threshold": "0"} if codec == "libx264" else {"qmin": "1", "qmax": "1"}
        )
        stream = writer.add_stream(codec, rate=24, options=fine)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        if container != "avi":
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if container != "avi":
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode())
    return buffer.getvalue()


def write_shards(
    folder: Path, videos: int, per_shard: int, frames: int = 4, first: int = 0
) -> list[str]:
    """Good samples; returns their keys."""
    video = encode_lossless(numbered(frames), 8)
    keys = [f"k{first + index:03d}" for index in range(videos)]
    with ShardWriter(folder, per_shard) as writer:
        for key in keys:
            writer.write(key, video, f"caption of {key}", {"n": key})
    return keys
