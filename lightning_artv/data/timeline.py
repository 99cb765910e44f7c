"""The frames of a video at a rate of frames per second; pure, no I/O."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    times = np.asarray(timestamps, np.float64)
    ticks = int((times[-1] - times[0]) * fps + 1e-6) + 1
    wanted = times[0] + np.arange(ticks) / fps
    after = np.minimum(times.searchsorted(wanted), len(times) - 1)
    before = np.maximum(after - 1, 0)
    is_before = wanted - times[before] <= times[after] - wanted + 1e-9
    nearest: list[int] = np.where(is_before, before, after).tolist()
    return nearest


def own_rate(timestamps: Sequence[float]) -> float:
    """Frames per second of the source, a mean; 0 of a single frame."""
    span = timestamps[-1] - timestamps[0]
    return (len(timestamps) - 1) / span if span > 0 else 0.0
