"""The metrics of a protocol, grouped by the network that they look through."""

from evaluation.meters.base import DistanceMeter, Meter, Weights
from evaluation.meters.distances import FrameDistance, VideoDistances
from evaluation.meters.single import Appearance, CaptionSimilarity, InceptionScore

METERS = (
    (VideoDistances, ("fvd", "kvd")),
    (InceptionScore, ("is",)),
    (FrameDistance, ("fid",)),
    (CaptionSimilarity, ("clipsim",)),
    (Appearance, ("flicker", "drift", "motion")),
)
"""Class -> the metrics that it measures."""

__all__ = ["METERS", "DistanceMeter", "Meter", "Weights"]
