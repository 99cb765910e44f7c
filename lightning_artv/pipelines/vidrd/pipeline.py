"""VidRD as a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers import SchedulerMixin, UNet2DConditionModel
from transformers import CLIPTokenizer

from lightning_artv.errors import UserError
from lightning_artv.networks.clip_unet import ClipUNet
from lightning_artv.pipelines.card import About
from lightning_artv.pipelines.parts import TextModel, Vae, autoencoder_from, text_encoder_from
from lightning_artv.pipelines.schedulers import prediction_from, sampling_from, schedule_from
from lightning_artv.pipelines.system import SystemPipeline, takes
from lightning_artv.pipelines.vidrd.components import TemporalLayers, plain_unet
from lightning_artv.systems.base import VideoModel
from lightning_artv.systems.settings import restored
from lightning_artv.systems.vidrd.denoiser import VidRDDenoiser
from lightning_artv.systems.vidrd.settings import VidRDSampling, VidRDTraining
from lightning_artv.systems.vidrd.system import VidRD

DEFAULTS = {"clip_frames": 8, "given_frames": 0.0, "most_given": 4}


class VidRDPipeline(SystemPipeline):
    """Text-to-video with VidRD; what it adds to the U-Net, layers over time, is `temporal`.

    Args:
        temporal: layers over time of `unet`.
        clip_frames, given_frames, most_given: as in `VidRD`.
        others: see `SystemPipeline`.
    """

    about = About(
        "VidRD", "Text-to-video a clip at a time, reused and diffused (Gu et al., VidRD)."
    )
    parts = "lightning_artv.pipelines.vidrd.components"

    _optional_components = ["tokenizer"]  # noqa: RUF012
    _checked_parts = ("unet", "temporal")

    @takes("temporal", DEFAULTS)
    def __init__(
        self,
        vae: Vae,
        text_encoder: TextModel,
        tokenizer: CLIPTokenizer | None,
        unet: UNet2DConditionModel,
        temporal: TemporalLayers,
        scheduler: SchedulerMixin,
        clip_frames: int | None = None,
        given_frames: float | None = None,
        most_given: int | None = None,
        sampling: dict[str, Any] | None = None,
        frame_size: list[int] | None = None,
        fps: float | None = None,
        training: dict[str, Any] | None = None,
    ) -> None:
        """All are kept as they are given."""

    @classmethod
    def from_system(
        cls, system: VideoModel, training: Mapping[str, Any] | None = None
    ) -> VidRDPipeline:
        """A pipeline of a system's networks, such as `load_system`'s; tensors are shared.

        Raises:
            UserError: another system than VidRD, or one with networks of other classes.
        """
        if not isinstance(system, VidRD):
            raise UserError(f"A system of class {type(system).__name__} is no VidRD to export.")
        denoiser, options = system.denoiser, system.training_options
        return cls._of(
            system,
            system,
            denoiser.prediction_type,
            training,
            unet=plain_unet(denoiser.network.unet),
            temporal=TemporalLayers.of(denoiser.network),
            clip_frames=denoiser.clip_frames,
            given_frames=options.given_frames,
            most_given=options.most_given,
        )

    def _networks(self) -> list[tuple[UNet2DConditionModel, TemporalLayers]]:
        return [(self.unet, self.temporal)]

    def _assemble(self) -> VidRD:
        config, scheduler = self.config, self.scheduler
        denoiser = VidRDDenoiser(
            ClipUNet(self.unet, self.temporal.clip),
            schedule_from(scheduler),
            prediction_from(scheduler),  # type: ignore[arg-type]  # it says which it takes
            config.clip_frames,
        )
        system = VidRD(
            denoiser,
            autoencoder_from(self.vae),
            text_encoder_from(self.text_encoder, self.tokenizer),
            VidRDTraining(given_frames=config.given_frames, most_given=config.most_given),
            sampling_from(scheduler, restored(VidRDSampling(), config.sampling or {})),
        )
        system.origin = self._origin()
        return system.eval()


# for `DiffusionPipeline.from_pretrained`, which looks there for the class that a folder names
diffusers.VidRDPipeline = VidRDPipeline
