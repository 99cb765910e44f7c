"""The frames of a video at a rate of frames per second; pure, no I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from lightning_artv.errors import UserError


def timeline(timestamps: Sequence[float], fps: float | None) -> list[int]:
    """The source frame nearest to each tick k / fps, from the first frame's time to the last's.

    A source slower than `fps` repeats frames; one with a variable rate is sampled evenly in time.

    Args:
        timestamps: seconds, ascending; any origin.
        fps: ticks a second; None for every source frame.
    """
    if fps is None or not timestamps:
        return list(range(len(timestamps)))
    if fps <= 0:
        raise UserError(f"fps must be positive, or null for every frame, got {fps}.")
    start = timestamps[0]
    ticks = int((timestamps[-1] - start) * fps + 1e-6) + 1
    return [_nearest(timestamps, start + tick / fps) for tick in range(ticks)]


def own_rate(timestamps: Sequence[float]) -> float:
    """Frames per second of the source, a mean; 0 of a single frame."""
    span = timestamps[-1] - timestamps[0]
    return (len(timestamps) - 1) / span if span > 0 else 0.0


def _nearest(timestamps: Sequence[float], time: float) -> int:
    after = min(bisect_left(timestamps, time), len(timestamps) - 1)
    if after > 0 and time - timestamps[after - 1] <= timestamps[after] - time + 1e-9:
        return after - 1
    return after
