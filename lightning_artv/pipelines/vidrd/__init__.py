"""VidRD in diffusers' form: a pipeline and its folder."""

from lightning_artv.pipelines.vidrd.pipeline import VidRDPipeline

__all__ = ["VidRDPipeline"]
