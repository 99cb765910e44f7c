"""A few-step student of any system that has a denoiser."""

from lightning_artv.systems.distilled.settings import Distillation
from lightning_artv.systems.distilled.system import Distilled

__all__ = ["Distillation", "Distilled"]
