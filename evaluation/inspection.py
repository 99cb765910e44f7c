"""What can be told of videos before any is decoded: their lengths, and how they are stored."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import av

from evaluation.arrays import ARRAY_SUFFIX, open_array
from evaluation.finding import SetVideo, pictures_in
from evaluation.videos import ClipRule, choose, unreadable
from lightning_artv.data.decode import DecodeError, Video
from lightning_artv.data.timeline import timeline
from lightning_artv.errors import UserError

LISTED = 50
"""Videos that one sentence names at most."""
SAMPLED = 64
"""Videos that stand for a set whose statistics are known."""


@dataclass(frozen=True)
class Stored:
    """How a video is stored.

    Attributes:
        codec: FFmpeg's name of the codec, or the pictures' suffix, or `npy`.
        lossy: whether the pixels are not those that were generated or filmed.
    """

    codec: str
    lossy: bool


def inspect(videos: Sequence[SetVideo], rule: ClipRule, side: str) -> list[Stored]:
    """How each video is stored, once all of them are known to open and to be long enough.

    Args:
        videos: whose files are opened, not decoded.
        rule: which clip they must hold.
        side: `real` or `generated`, for messages.

    Raises:
        UserError: videos that are too short or cannot be opened; one sentence lists them all.
    """
    found = _inspect_all(videos, rule)
    problems = [str(entry).rstrip(".") for entry in found if isinstance(entry, UserError)]
    if problems:
        more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        raise UserError(
            f"{len(problems)} of the {len(videos)} {side} videos cannot be used: "
            f"{'; '.join(problems[:LISTED])}{more}."
        )
    return [entry for entry in found if isinstance(entry, Stored)]


def inspect_some(videos: Sequence[SetVideo], rule: ClipRule) -> list[Stored]:
    """How some of many videos are stored; those that cannot be scored are left out."""
    step = max(1, len(videos) // SAMPLED)
    return [entry for entry in _inspect_all(videos[::step], rule) if isinstance(entry, Stored)]


def count_codecs(stored: Sequence[Stored]) -> dict[str, int]:
    """Codec -> number of videos, the most frequent first."""
    return dict(Counter(entry.codec for entry in stored).most_common())


def storage_warning(real: Sequence[Stored], fake: Sequence[Stored]) -> str | None:
    """A sentence where real and generated videos differ in loss, or either set does in itself."""
    if len({entry.lossy for entry in (*real, *fake)}) < 2:
        return None
    return (
        f"Real videos are stored {_words(real)} and generated ones {_words(fake)}: such a "
        "difference alone can move an FVD by a fifth, so store both alike."
    )


def _words(stored: Sequence[Stored]) -> str:
    lossy = {entry.lossy for entry in stored}
    how = "with and without loss" if len(lossy) == 2 else "with loss" if True in lossy else ""
    return f"{how or 'without loss'} ({', '.join(count_codecs(stored))})"


def _inspect_all(videos: Sequence[SetVideo], rule: ClipRule) -> list[Stored | UserError]:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda video: _inspect(video, rule), videos))


def _inspect(video: SetVideo, rule: ClipRule) -> Stored | UserError:
    try:
        count, stored = _facts(video, rule.fps)
        choose(count, rule, video.name)
    except UserError as error:
        return error
    except DecodeError as error:
        return unreadable(video, error)
    return stored


def _facts(video: SetVideo, fps: float | None) -> tuple[int, Stored]:
    """Frames on the video's timeline, and how it is stored."""
    if video.path.is_dir():
        pictures = pictures_in(video.path)
        suffixes = Counter(path.suffix.lower().lstrip(".") for path in pictures)
        codec = "+".join(sorted(suffixes))
        return len(pictures), Stored(codec, bool({"jpg", "jpeg", "webp"} & set(suffixes)))
    if video.path.suffix.lower() == ARRAY_SUFFIX:
        return len(open_array(video.path, video.index)), Stored("npy", lossy=False)
    with Video(video.path) as opened:
        return len(timeline(opened.timestamps, fps)), Stored(opened.codec, _lossy(opened.codec))


def _lossy(codec: str) -> bool:
    """GIF keeps its 256 colours exactly, but the video had more."""
    return codec == "gif" or av.Codec(codec, "r").lossy
