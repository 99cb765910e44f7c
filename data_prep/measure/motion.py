"""PySceneDetect's content score and cuts, at a third of the time of its own detector.

The score of a frame is `ContentDetector`'s `content_val`: the mean absolute difference to the frame
before of hue, saturation and value, averaged over the three (OpenCV's HSV: hue in [0, 180), the
others in [0, 255]). OpenCV sums the integers of all three at once, which is exact, so the scores
are equal but for the last bit. The pictures are those that PySceneDetect's `SceneManager` gives its
detectors by default: BGR at the stored size (PyAV's conversion), then bilinearly resized to a long
side of 256.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect import __version__ as scenedetect_version
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detector import FlashFilter
from scenedetect.scene_manager import compute_downscale_factor

VERSION = f"scenedetect {scenedetect_version} ContentDetector"
"""What the scores are equal to."""

MIN_SCENE_FRAMES = 15
"""`ContentDetector`'s default: shorter scenes are merged."""

Image = NDArray[np.uint8]


class ContentScore:
    """Compares each picture with the one before.

    Attributes:
        scores: one per picture but the first.
        values: each picture's mean value (the V of HSV), in [0, 255].
    """

    def __init__(self) -> None:
        self.scores: list[float] = []
        self.values: list[float] = []
        self._hsv: Any = None
        self._free: Any = None  # the memory of the picture before, used again

    def add(self, picture: Image) -> None:
        """Take the next picture, BGR uint8 `[H, W, 3]` or BGRA `[H, W, 4]`; all of one size."""
        hsv: Any = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV, dst=self._free)
        pixels = float(picture.shape[0] * picture.shape[1])
        self.values.append(cv2.sumElems(hsv)[2] / pixels)
        if self._hsv is not None:
            self.scores.append(cv2.norm(hsv, self._hsv, cv2.NORM_L1) / (3.0 * pixels))
        self._hsv, self._free = hsv, self._hsv


def analysis_size(width: int, height: int) -> tuple[int, int] | None:
    """(width, height) that `SceneManager` reduces pictures to; None leaves them as they are."""
    factor = compute_downscale_factor(max(width, height))
    if factor <= 1:
        return None
    return max(1, round(width / factor)), max(1, round(height / factor))


def find_cuts(
    scores: Sequence[float],
    times: Sequence[int],
    time_base: Fraction,
    rate: Fraction,
    threshold: float,
) -> list[float]:
    """Where `ContentDetector` cuts, in seconds since the first picture.

    Args:
        scores: scores of each picture but the first.
        times: times of each picture, in units of `time_base`.
        time_base: seconds.
        rate: nominal frames per second, for the least length of a scene, `MIN_SCENE_FRAMES`.
        threshold: scores of at least this are cuts.
    """
    if not scores or max(scores) < threshold:
        return []
    flashes = FlashFilter(FlashFilter.Mode.MERGE, MIN_SCENE_FRAMES)
    cuts = []
    last = FrameTimecode(Timecode(0, time_base), rate)  # where the filter counts from
    settled = False  # until the next score above it, more pictures below it change nothing
    for time, score in zip(times, [0.0, *scores], strict=True):
        above = score >= threshold
        if settled and not above:
            continue
        moment = FrameTimecode(Timecode(time - times[0], time_base), rate)
        cuts += flashes.filter(moment, above_threshold=above)
        last = moment if above else last
        settled = moment - last >= MIN_SCENE_FRAMES
    return sorted({cut.seconds for cut in cuts})
