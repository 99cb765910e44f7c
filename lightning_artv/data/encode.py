"""Frames -> mp4 bytes without loss, for synthetic shards."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray


def encode_lossless(frames: NDArray[np.uint8], fps: float) -> bytes:
    """An mp4 that decodes to exactly these frames.

    H.264 in RGB at CRF 0: colours survive bit for bit. Every frame is a keyframe, so any single
    frame decodes alone. The bytes depend on the frames and the rate only.

    Args:
        frames: uint8 `[T, H, W, 3]`.
        fps: frames per second.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264rgb", rate=Fraction(fps).limit_denominator(1001), options={"crf": "0"}
        )
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24"
        stream.gop_size = 1
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
