"""VideoGen as a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers
import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from transformers import CLIPTokenizer

from lightning_artv.errors import UserError
from lightning_artv.networks.clip_unet import ClipUNet
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.pipelines.card import About
from lightning_artv.pipelines.parts import (
    TextModel,
    Vae,
    autoencoder_from,
    text_encoder_from,
    text_parts_of,
)
from lightning_artv.pipelines.schedulers import sampling_from, schedule_from
from lightning_artv.pipelines.system import SystemPipeline, takes
from lightning_artv.pipelines.videogen.components import (
    ClipDecoder,
    FrameMaker,
    StageLayers,
    plain_unet,
)
from lightning_artv.systems.base import Origin, VideoModel
from lightning_artv.systems.decoder.system import VideoDecoder
from lightning_artv.systems.settings import restored
from lightning_artv.systems.videogen.denoiser import StageDenoiser
from lightning_artv.systems.videogen.settings import VideoGenSampling
from lightning_artv.systems.videogen.stage import Cascade, Stage
from lightning_artv.systems.videogen.system import Base
from lightning_artv.systems.videogen.tsr import TemporalSuperResolution
from lightning_artv.systems.videogen.video import VideoGen

SUFFIXES = ("", "_2", "_3")
"""Of the names of each stage's parts."""


class VideoGenPipeline(SystemPipeline):
    """A picture and a text to video; what a stage has beside its image model is `temporal`. Parts
    whose names end in `_2` and `_3` are those of the stages above the base.

    Args:
        unet, unet_2, unet_3: image models; None above the last stage.
        temporal, temporal_2, temporal_3: what makes them stages.
        text_encoder_2, text_encoder_3: text encoder of a stage that was trained with its own; None
            for the base's.
        tsr: temporal super-resolution; None without.
        decoder: video decoder; None for the image decoder.
        stages: settings of each stage, as plain data.
        frame_size: height and width of the last stage.
        others: see `SystemPipeline`.
    """

    about = About(
        "VideoGen", "A picture and a text to video, enlarged in stages (Li et al., VideoGen)."
    )
    parts = "lightning_artv.pipelines.videogen.components"

    _optional_components = [  # noqa: RUF012
        *("tokenizer", "unet_2", "unet_3", "temporal_2", "temporal_3"),
        *("text_encoder_2", "text_encoder_3", "tsr", "decoder"),
    ]
    _checked_parts = (
        *("unet", "temporal", "unet_2", "temporal_2", "unet_3", "temporal_3"),
        *("tsr", "decoder"),
    )

    @takes("temporal", {"stages": None})
    def __init__(
        self,
        vae: Vae,
        text_encoder: TextModel,
        tokenizer: CLIPTokenizer | None,
        unet: UNet2DConditionModel,
        temporal: StageLayers,
        scheduler: SchedulerMixin,
        unet_2: UNet2DConditionModel | None = None,
        temporal_2: StageLayers | None = None,
        text_encoder_2: TextModel | None = None,
        unet_3: UNet2DConditionModel | None = None,
        temporal_3: StageLayers | None = None,
        text_encoder_3: TextModel | None = None,
        tsr: FrameMaker | None = None,
        decoder: ClipDecoder | None = None,
        stages: list[dict[str, Any]] | None = None,
        sampling: dict[str, Any] | None = None,
        frame_size: list[int] | None = None,
        fps: float | None = None,
        training: dict[str, Any] | None = None,
    ) -> None:
        """All are kept as they are given."""

    @classmethod
    def from_system(
        cls, system: VideoModel, training: Mapping[str, Any] | None = None
    ) -> VideoGenPipeline:
        """A pipeline of a system's networks; most tensors are shared.

        Raises:
            UserError: another system than VideoGen, or more stages than a folder has places for.
        """
        stages = _stages_of(system)
        base, channels = stages[0], stages[0].autoencoder.channels
        modules: dict[str, Any] = {}
        for suffix, stage in zip(SUFFIXES, stages, strict=False):
            modules[f"unet{suffix}"] = plain_unet(stage.denoiser.network.unet, channels)
            sharpener = stage.sharpener if isinstance(stage, Cascade) else None
            layers = StageLayers.of(stage.denoiser.network, channels, sharpener)
            modules[f"temporal{suffix}"] = layers
            if stage.text_encoder is not base.text_encoder:
                modules[f"text_encoder{suffix}"] = text_parts_of(stage.text_encoder)[0]
        for part in system.parts():
            if isinstance(part, TemporalSuperResolution):
                modules["tsr"] = FrameMaker.of(part)
            elif isinstance(part, VideoDecoder):
                modules["decoder"] = ClipDecoder.of(part)
        kind, settings = base.denoiser.prediction_type, [_settings_of(stage) for stage in stages]
        return cls._of(system, base, kind, training, stages=settings, **modules)

    def _networks(self) -> list[tuple[UNet2DConditionModel, StageLayers]]:
        pairs = [(getattr(self, f"unet{s}"), getattr(self, f"temporal{s}")) for s in SUFFIXES]
        return [(unet, temporal) for unet, temporal in pairs if unet is not None]

    def _assemble(self) -> VideoModel:
        autoencoder = autoencoder_from(self.vae)
        sampling = sampling_from(
            self.scheduler, restored(VideoGenSampling(), self.config.sampling or {})
        )
        shared = text_encoder_from(self.text_encoder, self.tokenizer)
        built: list[Stage] = []
        for place, (unet, temporal) in enumerate(self._networks()):
            said = dict(self.config.stages[place])
            upsampling = said.pop("upsampling", None)
            network = ClipUNet(unet, temporal.clip)
            denoiser = StageDenoiser(network, schedule_from(self.scheduler), **said)
            text = self._text_encoder(SUFFIXES[place], shared)
            if not place:
                built.append(Base(denoiser, autoencoder, text, sampling=sampling))
            else:
                more = {"doublings": place, "upsampling": upsampling, "sampling": sampling}
                upper = Cascade(denoiser, autoencoder, text, **more)
                upper.sharpener = temporal.sharpener
                built.append(upper)
        base, *above = built
        assert isinstance(base, Base)
        beside = [
            None if part is None else part.part(autoencoder) for part in (self.tsr, self.decoder)
        ]
        whole = VideoGen(base, [stage for stage in above if isinstance(stage, Cascade)], *beside)
        whole.origin = self._origin(stages=self.config.stages)
        for place, stage in enumerate(reversed(built)):
            size, scale = whole.origin.size, 2**place
            own = None if size is None else (size[0] // scale, size[1] // scale)
            stage.origin = Origin(own, whole.origin.fps, whole.origin.description)
        return whole.eval()

    def _text_encoder(self, suffix: str, shared: TextEncoder) -> TextEncoder:
        own = getattr(self, f"text_encoder{suffix}") if suffix else None
        return shared if own is None else text_encoder_from(own, self.tokenizer)


def _stages_of(system: VideoModel) -> list[Stage]:
    """Raises:
    UserError: no VideoGen, or one that a folder has no place for.
    """
    if isinstance(system, Base):
        return [system]
    if not isinstance(system, VideoGen):
        raise UserError(f"A system of class {type(system).__name__} is no VideoGen to export.")
    stages = [system.base, *(stage for stage in system.cascade if isinstance(stage, Cascade))]
    schedules = [stage.denoiser.schedule.betas for stage in stages]
    if len(stages) > len(SUFFIXES) or not all(torch.equal(s, schedules[0]) for s in schedules):
        raise UserError("A folder holds at most 3 stages, all of the same noise schedule.")
    return stages


def _settings_of(stage: Stage) -> dict[str, Any]:
    """What a stage is besides its networks."""
    names = ("prediction_type", "clip_frames", "reference", "tells_frame")
    said = {name: getattr(stage.denoiser, name) for name in names}
    return {**said, **({"upsampling": stage.upsampling} if isinstance(stage, Cascade) else {})}


# for `DiffusionPipeline.from_pretrained`, which looks there for the class that a folder names
diffusers.VideoGenPipeline = VideoGenPipeline
