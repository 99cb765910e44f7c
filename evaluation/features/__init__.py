"""The networks that metrics look through: I3D, C3D, Inception (`Features`) and CLIP."""

from evaluation.features.base import Features
from evaluation.features.loading import (
    load_c3d,
    load_clip,
    load_i3d,
    load_inception,
    random_features,
)
from evaluation.features.preprocessing import VideoPreprocessing

__all__ = [
    "Features",
    "VideoPreprocessing",
    "load_c3d",
    "load_clip",
    "load_i3d",
    "load_inception",
    "random_features",
]
