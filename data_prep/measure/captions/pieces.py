"""Where a long video is cut; pure.

Its scene cuts divide it into shots, and each shot into equal parts of nearly `interval` seconds,
of which one frame says whether it is about the label. Neighbours of one shot and one verdict are a
piece. So no piece has a scene cut inside, no shot is cut where nothing speaks for it, and the
pieces are the whole video.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

KEPT = "kept"


@dataclass(frozen=True)
class Part:
    """A stretch for which one frame speaks.

    Attributes:
        shot: number of its shot.
        start, end: seconds since the video's first frame.
    """

    shot: int
    start: float
    end: float


@dataclass(frozen=True)
class Piece:
    """Consecutive parts of one shot with one verdict.

    Attributes:
        start, end: seconds since the video's first frame.
        verdict: `KEPT`, or why it is dropped.
        parts: numbers of its parts.
    """

    start: float
    end: float
    verdict: str
    parts: range


def parts_of(duration: float, cuts: Sequence[float], interval: float) -> list[Part]:
    """The parts of a video, in order.

    Args:
        duration: seconds.
        cuts: where shots begin, in seconds; those outside of the video do not count.
        interval: seconds of a part, nearly.
    """
    inside = sorted({cut for cut in cuts if 0 < cut < duration})
    parts = []
    for shot, (start, end) in enumerate(itertools.pairwise([0.0, *inside, duration])):
        count = max(1, round((end - start) / interval))
        edges = [start + (end - start) * k / count for k in range(count)] + [end]
        parts += [Part(shot, *pair) for pair in itertools.pairwise(edges)]
    return parts


def pieces_of(parts: Sequence[Part], verdicts: Sequence[str], min_seconds: float) -> list[Piece]:
    """The pieces of a video, in order: what they say ends where the next one begins.

    Args:
        parts: parts of `parts_of`.
        verdicts: verdicts of each part.
        min_seconds: shorter pieces that would be kept are `too_short`.
    """
    pieces = []
    numbered = enumerate(zip(parts, verdicts, strict=True))
    for (_, verdict), group in itertools.groupby(numbered, lambda n: (n[1][0].shot, n[1][1])):
        members = [number for number, _ in group]
        start, end = parts[members[0]].start, parts[members[-1]].end
        if verdict == KEPT and end - start < min_seconds - 1e-6:
            verdict = "too_short"
        pieces.append(Piece(start, end, verdict, range(members[0], members[-1] + 1)))
    return pieces


def shown_at(times: Sequence[float], parts: Sequence[Part]) -> list[int]:
    """The frame that is seen in the middle of each part; `times` are of all frames, ascending."""
    middles = ((part.start + part.end) / 2 for part in parts)
    return [max(0, bisect_right(times, middle) - 1) for middle in middles]
