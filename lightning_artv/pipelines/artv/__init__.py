"""ART•V in diffusers' form: a pipeline, its folder, its model card."""

from lightning_artv.pipelines.artv.pipeline import ARTVPipeline, ARTVPipelineOutput

__all__ = ["ARTVPipeline", "ARTVPipelineOutput"]
