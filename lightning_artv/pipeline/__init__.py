"""Earlier name of `lightning_artv.pipelines.artv`, kept for one release."""

from lightning_artv.pipelines.artv import ARTVPipeline, ARTVPipelineOutput

__all__ = ["ARTVPipeline", "ARTVPipelineOutput"]
