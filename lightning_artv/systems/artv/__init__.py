"""ART•V (Weng et al.): auto-regressive text-to-video generation with masked diffusion."""

from lightning_artv.systems.artv.system import ARTV

__all__ = ["ARTV"]
