"""ART•V in diffusers' form: a pipeline, its folder, its model card."""

from lightning_artv.pipelines.artv.pipeline import ARTVPipeline
from lightning_artv.pipelines.stored import VideoPipelineOutput as ARTVPipelineOutput

__all__ = ["ARTVPipeline", "ARTVPipelineOutput"]
