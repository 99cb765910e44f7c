"""Metrics of videos as `torchmetrics.Metric`: batches and ranks merge exactly, states are float64.

All take uint8 videos `[B, T, 3, H, W]`. `compute()` gives the number, `result()` the number with
what it takes to judge it.
"""

from evaluation.metrics.base import Score
from evaluation.metrics.clipsim import CLIPSim
from evaluation.metrics.drift import Drift, DriftCurve
from evaluation.metrics.frechet import FrameFID, FrechetVideoDistance
from evaluation.metrics.inception import VideoInceptionScore
from evaluation.metrics.kernel import KernelVideoDistance
from evaluation.metrics.motion import Flicker, MotionMagnitude

__all__ = [
    "CLIPSim",
    "Drift",
    "DriftCurve",
    "Flicker",
    "FrameFID",
    "FrechetVideoDistance",
    "KernelVideoDistance",
    "MotionMagnitude",
    "Score",
    "VideoInceptionScore",
]
