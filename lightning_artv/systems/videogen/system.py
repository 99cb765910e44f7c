"""VideoGen's base: a stage that makes videos of its own size, with or without the others."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from lightning_artv.batch import VideoBatch
from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.networks.unet import UNetSource
from lightning_artv.systems.base import Observer, Request, SamplingSettings
from lightning_artv.systems.latent import LatentSystem
from lightning_artv.systems.videogen.denoiser import DenoiserOptions, StageDenoiser, build_denoiser
from lightning_artv.systems.videogen.rollout import Parts, check, rollout, went_without
from lightning_artv.systems.videogen.settings import StageTraining, VideoGenSampling
from lightning_artv.systems.videogen.stage import DENOISER, SAMPLING, TRAINING, Stage


class Base(Stage, LatentSystem[StageDenoiser, StageTraining, VideoGenSampling]):
    """Stage 1: small clips, which the others enlarge; alone it makes videos of its own size."""

    part = "base"
    continues = True
    pipeline = "lightning_artv.pipelines.videogen.VideoGenPipeline"

    @classmethod
    def build(
        cls,
        unet: UNetSource,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        denoiser: DenoiserOptions = DENOISER,
        training: StageTraining = TRAINING,
        sampling: VideoGenSampling = SAMPLING,
    ) -> Base:
        """A stage as it starts training; configurations name this as their `class_path`.

        Args:
            unet: where the image model comes from.
            autoencoder: pixels to latents.
            text_encoder: captions to tokens.
            denoiser: what is built of them.
            training: how the loss is made.
            sampling: defaults of generation.
        """
        channels, width = autoencoder.channels, text_encoder.width
        networks = build_denoiser(unet, channels, width, denoiser, is_base=True)
        return cls(networks, autoencoder, text_encoder, training, sampling)

    @property
    def note(self) -> str:
        """What is missing for the whole of VideoGen."""
        return went_without(self._parts())

    def frame_rate(self, settings: SamplingSettings) -> float | None:
        """The rate that the base is asked for."""
        assert isinstance(settings, VideoGenSampling)
        return settings.fps

    def given(self, batch: VideoBatch) -> Tensor | None:
        """The clips' first frames."""
        return self.pixels(batch.gather(batch.frames)[:, 0])

    def check(self, request: Request) -> None:
        """See `VideoSystem.check`."""
        super().check(request)
        check(self._parts(), request)

    def frames(self, request: Request, observer: Observer | None = None) -> Iterator[Tensor]:
        """See `VideoSystem.frames` and `rollout.py`."""
        return rollout(self._parts(), request, observer)

    def _parts(self) -> Parts:
        return Parts((self,), self.autoencoder)
