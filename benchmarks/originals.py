"""Videos as people have them: H.264, a keyframe every 250 frames, real ones or synthetic."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from data_prep.options import Limits
from data_prep.shards.transcode import prepare

FRAMES, FPS, HEIGHT, WIDTH = 300, 30, 336, 596  # WebVid's size


def originals(videos: Path | None, count: int) -> Iterator[bytes]:
    """Mp4s with near to no keyframes: `count` of a folder of videos, the longest, or synthetic."""
    if videos is None:
        for seed in range(count):
            yield _encode(_drifting(seed))
        return
    files = [path for path in sorted(videos.iterdir()) if path.suffix in (".mp4", ".mkv", ".avi")]
    for path in sorted(files, key=_frames, reverse=True)[:count]:
        yield _again(path)


def _frames(path: Path) -> int:
    with av.open(str(path), metadata_errors="ignore") as video:
        return video.streams.video[0].frames


def _again(path: Path) -> bytes:
    with av.open(str(path), metadata_errors="ignore") as video:
        pictures = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    return _encode(np.stack(pictures))


def _drifting(seed: int) -> np.ndarray:
    """A textured scene that pans, with a little noise; uint8 `[T, H, W, 3]`."""
    rng = np.random.default_rng(seed)
    fine = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 4, 3)).astype(np.uint8)
    scene = np.kron(fine, np.ones((8, 8, 1), np.uint8))
    noise = rng.normal(0, 2, (4, HEIGHT, WIDTH, 3))
    frames = [scene[:HEIGHT, t : t + WIDTH] + noise[t % 4] for t in range(FRAMES)]
    return np.clip(np.stack(frames), 0, 255).astype(np.uint8)


def _encode(frames: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as writer:
        stream = writer.add_stream("libx264", FPS, {"crf": "23", "preset": "veryfast"})
        stream.height, stream.width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
        stream.pix_fmt, stream.gop_size = "yuv420p", 250
        for picture in frames[:, : stream.height, : stream.width]:
            pixels = np.ascontiguousarray(picture)
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        writer.mux(stream.encode())
    return buffer.getvalue()


def smaller(video: bytes, size: int | None = 320, gop: int = 24) -> bytes:
    """What the step `shards` makes of a video."""
    return prepare(video, Limits(size, None, gop)).video
