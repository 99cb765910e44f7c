"""VideoGen in diffusers' form: a pipeline and its folder."""

from lightning_artv.pipelines.videogen.pipeline import VideoGenPipeline

__all__ = ["VideoGenPipeline"]
