"""Some frames of a video, or of a piece of one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from data_prep.engine.failure import BadVideo
from data_prep.sources.files import open_video, read_source
from data_prep.sources.rows import VideoEntry
from lightning_artv.data.decode import Video

Choose = Callable[[Sequence[float]], Sequence[int]]
"""The times of an entry's frames, in seconds into the video -> which are wanted."""


def frames_of(entry: VideoEntry, choose: Choose) -> Tensor:
    """Frames of an entry, uint8 `[N, 3, H, W]`, upright; see `frames_by`."""
    (frames,) = frames_by(entry, choose, sys.maxsize)
    return frames


def frames_by(entry: VideoEntry, choose: Choose, size: int) -> Iterator[Tensor]:
    """Frames of an entry a few at a time, uint8 `[N <= size, 3, H, W]`, upright.

    Only these are decoded, and what they need since the keyframes before them.

    Args:
        entry: whose `span` the frames are of.
        choose: which of them.
        size: frames at a time.

    Raises:
        DecodeError: the video, or one of the frames, cannot be read, or there is none.
    """
    source = read_source(entry.path)
    open_video(source).close()  # says why a file is no video
    with Video(source) as video:
        here = entry.span.indices(video.timestamps)
        if not here:
            raise BadVideo("too_few_frames", f"it has no frame {entry.span}")
        times = video.timestamps[here.start : here.stop]
        chosen = [here[index] for index in choose(times)]
        for start in range(0, len(chosen), size):
            yield video.frames(chosen[start : start + size])


def even_frames(entry: VideoEntry, count: int) -> Tensor:
    """The frames in the middle of `count` equal parts, or all where they are fewer."""

    def middles(times: Sequence[float]) -> list[int]:
        parts = min(count, len(times))
        return [(2 * part + 1) * len(times) // (2 * parts) for part in range(parts)]

    return frames_of(entry, middles)
