"""A few-step student of any system that has a denoiser."""

from lightning_artv.systems.distilled.system import Distillation, Distilled

__all__ = ["Distillation", "Distilled"]
