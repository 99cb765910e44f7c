"""The options of the step `images`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from data_prep.options import Limits, Packing, Window, window
from data_prep.options.arguments import Argument
from lightning_artv.errors import UserError, check_number

MOST_FRAMES = 1000


@dataclass(frozen=True)
class ImageOptions(Limits, Packing):
    """How a picture becomes a video.

    Attributes:
        size: pixels of the video's short side; smaller pictures are refused, none is enlarged.
        aspect: width of the video over its height.
        seconds: length of the video.
        fps: frames per second.
        zoom: how many times as large as the smallest box the largest may be; 1 only pans.
        speed: slowest and fastest that the quickest corner may move, in pixels of the video per
            frame.
        seed: seed of the boxes, together with the picture's key.
        gop: frames from a keyframe to the next, at most: the nearer, the faster a window decodes.
    """

    size: int = 320
    aspect: float = 1.0
    seconds: float = 2.0
    fps: float = 8.0
    gop: int = 24
    preset: str = "superfast"
    zoom: float = 2.0
    speed: Annotated[Window, Argument(parse=window, metavar="LOW:HIGH")] = (0.5, 16.0)
    seed: int = 0

    def __post_init__(self) -> None:
        Limits.__post_init__(self)
        Packing.__post_init__(self)
        check_number("--aspect", self.aspect, 0.1, 10)
        check_number("--seconds", self.seconds, 0)
        check_number("--zoom", self.zoom, 1, 100)
        if not 2 <= self.frames <= MOST_FRAMES:
            raise UserError(
                f"--seconds {self.seconds:g} at --fps {self.fps:g} is {self.frames} frames; choose "
                f"2 to {MOST_FRAMES}."
            )
        low, high = self.speeds
        if not 0 < low <= high:
            raise UserError(f"--speed is LOW:HIGH with 0 < LOW <= HIGH, got {low:g}:{high:g}.")

    @property
    def frames(self) -> int:
        """Frames of a video."""
        return round(self.seconds * self.fps)

    @property
    def shape(self) -> tuple[int, int]:
        """(width, height) of the video, even as H.264 needs them."""
        wide = max(self.aspect, 1.0), max(1 / self.aspect, 1.0)
        width, height = (2 * round(self.size * factor / 2) for factor in wide)
        return width, height

    @property
    def speeds(self) -> tuple[float, float]:
        """The slowest and the fastest, an open end filled in."""
        low, high = self.speed
        return 0.5 if low is None else low, float("inf") if high is None else high
