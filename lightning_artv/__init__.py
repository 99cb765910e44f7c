"""ART•V: auto-regressive text-to-video generation with masked diffusion, on PyTorch Lightning.

    from lightning_artv import generate_video, load_system
    system = load_system("outputs/demo/last.ckpt")
    generate_video(system, "a red circle moves right slowly on a grey background", "video.mp4")

Importing this package is cheap: what it offers is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_artv.generation.videos import Shot, generate_video
    from lightning_artv.pipelines.artv import ARTVPipeline
    from lightning_artv.pipelines.loading import load_system
    from lightning_artv.pipelines.videogen import VideoGenPipeline
    from lightning_artv.pipelines.vidrd import VidRDPipeline

__all__ = [
    "ARTVPipeline",
    "Shot",
    "VidRDPipeline",
    "VideoGenPipeline",
    "generate_video",
    "load_system",
]

_HOME = {
    "ARTVPipeline": "lightning_artv.pipelines.artv",
    "VidRDPipeline": "lightning_artv.pipelines.vidrd",
    "VideoGenPipeline": "lightning_artv.pipelines.videogen",
    "Shot": "lightning_artv.generation.videos",
    "generate_video": "lightning_artv.generation.videos",
    "load_system": "lightning_artv.pipelines.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lightning_artv' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
