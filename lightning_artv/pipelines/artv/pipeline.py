"""ART•V as a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import diffusers
import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from transformers import CLIPTokenizer

from lightning_artv.errors import UserError
from lightning_artv.media import Picture
from lightning_artv.pipelines.artv.components import DEFAULTS, Conditioning, plain_unet
from lightning_artv.pipelines.card import About
from lightning_artv.pipelines.parts import TextModel, Vae, autoencoder_from, text_encoder_from
from lightning_artv.pipelines.schedulers import prediction_from, sampling_from, schedule_from
from lightning_artv.pipelines.stored import VideoPipelineOutput
from lightning_artv.pipelines.system import OnStep, SystemPipeline, takes
from lightning_artv.systems.artv.denoiser import ARTVDenoiser, Masking
from lightning_artv.systems.artv.figures import MaskedStep
from lightning_artv.systems.artv.networks.unet import ConditionedUNet
from lightning_artv.systems.artv.settings import ARTVSampling
from lightning_artv.systems.artv.system import ARTV
from lightning_artv.systems.base import DenoisingStep, VideoModel
from lightning_artv.systems.settings import restored


class ARTVPipeline(SystemPipeline):
    """Text-to-video with ART•V; what it adds to the U-Net (adapter, anchor attention, noise level)
    is `conditioning`.

    Args:
        unet: dynamic-noise U-Net.
        conditioning: its ART•V parts.
        mask_unet, mask_conditioning: mask U-Net and its parts; None for a system without.
        static_noise, mask_bias, max_noise_level, use_anchor: as in `ARTV`.
        others: see `SystemPipeline`.
    """

    about = About(
        "ART•V", "Auto-regressive text-to-video with masked diffusion (Weng et al., ART•V)."
    )
    parts = "lightning_artv.pipelines.artv.components"
    earlier_parts = ("lightning_artv.pipeline.components",)

    _optional_components = ["tokenizer", "mask_unet", "mask_conditioning"]  # noqa: RUF012
    _checked_parts = ("unet", "conditioning", "mask_unet", "mask_conditioning")

    @takes("conditioning", DEFAULTS)
    def __init__(
        self,
        vae: Vae,
        text_encoder: TextModel,
        tokenizer: CLIPTokenizer | None,
        unet: UNet2DConditionModel,
        conditioning: Conditioning,
        scheduler: SchedulerMixin,
        mask_unet: UNet2DConditionModel | None = None,
        mask_conditioning: Conditioning | None = None,
        static_noise: str | None = None,
        mask_bias: float | None = None,
        max_noise_level: int | None = None,
        use_anchor: bool | None = None,
        sampling: dict[str, Any] | None = None,
        frame_size: list[int] | None = None,
        fps: float | None = None,
        training: dict[str, Any] | None = None,
    ) -> None:
        masked = self.config.static_noise != "none"
        if {masked} != {mask_unet is not None, mask_conditioning is not None}:
            raise UserError(
                "mask_unet and mask_conditioning go together, and are None for static_noise none."
            )

    @classmethod
    def from_system(
        cls, system: VideoModel, training: Mapping[str, Any] | None = None
    ) -> ARTVPipeline:
        """A pipeline of a system's networks, such as `load_system`'s; tensors are shared.

        Raises:
            UserError: another system than ART•V, or one with networks of other classes.
        """
        if not isinstance(system, ARTV):
            raise UserError(f"A system of class {type(system).__name__} is no ART•V to export.")
        dynamic, mask, masking = (
            system.denoiser.dynamic,
            system.denoiser.mask,
            system.denoiser.masking,
        )
        return cls._of(
            system,
            system,
            masking.prediction_type,
            training,
            unet=plain_unet(dynamic.unet),
            conditioning=Conditioning.of(dynamic),
            mask_unet=None if mask is None else plain_unet(mask.unet),
            mask_conditioning=None if mask is None else Conditioning.of(mask),
            **{name: getattr(masking, name) for name in DEFAULTS},
        )

    def __call__(  # type: ignore[override]  # `settings` by names of their own
        self,
        prompt: str | Sequence[str],
        image: Picture | Sequence[Picture] | None = None,
        num_frames: int = 16,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_references: float | None = None,
        guidance_anchor: float | None = None,
        noise_level: int | None = None,
        num_videos_per_prompt: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seed: int | None = None,
        output_type: Literal["pil", "np", "pt"] = "pil",
        return_dict: bool = True,
        callback_on_step_end: OnStep | None = None,
    ) -> VideoPipelineOutput | tuple[Any]:
        """See `SystemPipeline.__call__`; besides:

        Args:
            guidance_references, guidance_anchor: weights of the frames' guidance; 0 is none.
            noise_level: noise on references and anchor (t_test, paper Sec. 3.3).
            callback_on_step_end: is also shown the `mask`.
        """
        return super().__call__(
            *(prompt, image, num_frames, height, width, num_inference_steps, guidance_scale),
            {
                "noise_level": noise_level,
                "guidance.references": guidance_references,
                "guidance.anchor": guidance_anchor,
            },
            *(num_videos_per_prompt, generator, seed, output_type, return_dict),
            callback_on_step_end,
        )

    def _networks(self) -> list[tuple[UNet2DConditionModel, Conditioning]]:
        masks = [(self.mask_unet, self.mask_conditioning)] * (self.mask_unet is not None)
        return [(self.unet, self.conditioning), *masks]

    def _assemble(self) -> ARTV:
        networks = [
            ConditionedUNet(unet, parts.adapter, parts.anchor_encoder)
            for unet, parts in self._networks()
        ]
        config, scheduler = self.config, self.scheduler
        described = {name: config[name] for name in DEFAULTS}
        system = ARTV(
            ARTVDenoiser(
                networks[0],
                networks[1] if len(networks) == 2 else None,
                schedule_from(scheduler),
                Masking(prediction_type=prediction_from(scheduler), **described),
            ),
            autoencoder_from(self.vae),
            text_encoder_from(self.text_encoder, self.tokenizer),
            sampling=sampling_from(scheduler, restored(ARTVSampling(), config.sampling or {})),
        )
        system.origin = self._origin(**described)
        return system.eval()

    def _seen(self, step: DenoisingStep) -> dict[str, Any]:
        return {**super()._seen(step), "mask": step.mask if isinstance(step, MaskedStep) else None}


# for `DiffusionPipeline.from_pretrained`, which looks there for the class that a folder names
diffusers.ARTVPipeline = ARTVPipeline
