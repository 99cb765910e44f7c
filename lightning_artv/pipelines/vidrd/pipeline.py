"""VidRD as a diffusers pipeline; the frames are made by our own rollout."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers import SchedulerMixin, UNet2DConditionModel
from transformers import CLIPTokenizer

from lightning_artv.errors import UserError
from lightning_artv.networks.clip_unet import ClipUNet
from lightning_artv.pipelines.card import About
from lightning_artv.pipelines.clips import ClipPipeline, OverTime
from lightning_artv.pipelines.parts import (
    TextModel,
    Vae,
    autoencoder_from,
    text_encoder_from,
    text_parts_of,
    vae_of,
)
from lightning_artv.pipelines.schedulers import (
    SAID,
    prediction_from,
    sampling_from,
    schedule_from,
    scheduler_for,
)
from lightning_artv.pipelines.stored import settled
from lightning_artv.pipelines.vidrd.components import TemporalLayers, plain_unet
from lightning_artv.systems.base import VideoModel
from lightning_artv.systems.vidrd.denoiser import VidRDDenoiser
from lightning_artv.systems.vidrd.settings import Guidance, VidRDSampling, VidRDTraining
from lightning_artv.systems.vidrd.system import VidRD

DEFAULTS = {"clip_frames": 8, "given_frames": 0.0, "most_given": 4}


class VidRDPipeline(ClipPipeline):
    """Text-to-video with VidRD: `from_pretrained`, `save_pretrained`, `push_to_hub`, `to`, a call.

    `unet`, `vae`, `text_encoder`, `tokenizer` and `scheduler` are Stable Diffusion's classes, and
    parts may be exchanged with its pipelines in both directions; the layers over time are
    `temporal`, and in the U-Net only while frames are made.

    Args:
        vae: AutoencoderKL, or a `PixelUnshuffleVAE`.
        text_encoder: CLIPTextModel, or a `ByteTextModel`, which needs no tokenizer.
        tokenizer: CLIPTokenizer or None.
        unet: the image model.
        temporal: its layers over time.
        scheduler: noise schedule, prediction type and sampler: DDIM or DPM-Solver++ (2M).
        clip_frames, given_frames, most_given: as in `VidRD`.
        sampling: the defaults of a call.
        frame_size: trained height and width.
        fps: trained frames per second.
        training: what the model card tells of the training.

    A setting that is None is that of the pipeline that `temporal` was first in, so that
    `VidRDPipeline(**pipeline.components)` is `pipeline` again; else the paper's.
    """

    about = About(
        "VidRD", "Text-to-video a clip at a time, reused and diffused (Gu et al., VidRD)."
    )
    parts = "lightning_artv.pipelines.vidrd.components"

    _optional_components = ["tokenizer"]  # noqa: RUF012
    _checked_parts = ("unet", "temporal")

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
        super().__init__()
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            temporal=temporal,
            scheduler=scheduler,
        )
        settings = settled(
            temporal,
            DEFAULTS,
            clip_frames=clip_frames,
            given_frames=given_frames,
            most_given=most_given,
            sampling=sampling,
            frame_size=frame_size,
            fps=fps,
            training=training,
        )
        self.register_to_config(**settings)

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
        tokens, tokenizer = text_parts_of(system.text_encoder)
        denoiser, sampling, size = system.denoiser, system.sampling, system.origin.size
        plain = dataclasses.asdict(sampling)
        return cls(
            vae=vae_of(system.autoencoder),
            text_encoder=tokens,
            tokenizer=tokenizer,
            unet=plain_unet(denoiser.network.unet),
            temporal=TemporalLayers.of(denoiser.network),
            scheduler=scheduler_for(denoiser.schedule, sampling, denoiser.prediction_type),
            clip_frames=denoiser.clip_frames,
            given_frames=system.training_options.given_frames,
            most_given=system.training_options.most_given,
            sampling={n: value for n, value in plain.items() if n not in SAID},
            frame_size=None if size is None else list(size),
            fps=system.origin.fps,
            training=None if training is None else dict(training),
        )

    def _networks(self) -> list[tuple[UNet2DConditionModel, OverTime]]:
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
            sampling_from(scheduler, _sampling(config.sampling)),
        )
        system.origin = self._origin()
        return system.eval()


def _sampling(plain: Mapping[str, Any] | None) -> VidRDSampling:
    """Sampling settings from plain data; the rest is the scheduler's."""
    if plain is None:
        return VidRDSampling()
    return VidRDSampling(**{**plain, "guidance": Guidance(**plain["guidance"])})


# for `DiffusionPipeline.from_pretrained`, which looks there for the class that a folder names
diffusers.VidRDPipeline = VidRDPipeline
