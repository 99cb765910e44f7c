"""ART•V as a diffusers pipeline; the frames are made by our own rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, Literal

import diffusers
import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTokenizer

from lightning_artv.diffusion.noise import Generators
from lightning_artv.errors import UserError
from lightning_artv.media import Picture
from lightning_artv.pipelines import inputs
from lightning_artv.pipelines.artv.assembly import (
    assembled,
    plain_sampling,
    plain_unet,
    stay_assembled,
)
from lightning_artv.pipelines.artv.components import (
    DEFAULTS,
    Conditioning,
)
from lightning_artv.pipelines.card import About
from lightning_artv.pipelines.parts import TextModel, Vae, text_parts_of, vae_of
from lightning_artv.pipelines.schedulers import scheduler_for
from lightning_artv.pipelines.stored import StoredPipeline, VideoPipelineOutput, settled
from lightning_artv.systems.artv.figures import MaskedStep
from lightning_artv.systems.artv.settings import ARTVSampling
from lightning_artv.systems.artv.system import ARTV
from lightning_artv.systems.base import DenoisingStep, Segment, VideoModel
from lightning_artv.systems.settings import with_settings

OnStep = Callable[["ARTVPipeline", int, int, dict[str, Any]], object]


class ARTVPipeline(StoredPipeline):
    """Text-to-video with ART•V: `from_pretrained`, `save_pretrained`, `push_to_hub`, `to`, a call.

    `unet`, `vae`, `text_encoder`, `tokenizer` and `scheduler` are Stable Diffusion's classes, and
    parts may be exchanged with its pipelines in both directions; what ART•V adds to that U-Net
    (adapter, anchor attention, noise level) is `conditioning`. It is installed in the U-Net only
    while frames are made.

    Args:
        vae: AutoencoderKL, or a `PixelUnshuffleVAE`.
        text_encoder: CLIPTextModel, or a `ByteTextModel`, which needs no tokenizer.
        tokenizer: CLIPTokenizer or None.
        unet: the dynamic-noise U-Net.
        conditioning: its ART•V parts.
        scheduler: noise schedule, prediction type and sampler: DDIM or DPM-Solver++ (2M).
        mask_unet, mask_conditioning: the mask U-Net and its parts; None for a system without.
        static_noise, mask_bias, max_noise_level, use_anchor: as in `ARTV`.
        sampling: the defaults of a call: steps, noise_level, segment_anchor and the guidance
            weights references, anchor and text.
        frame_size: trained height and width.
        fps: trained frames a second.
        training: what the model card tells of the training.

    A setting that is None is that of the pipeline that `conditioning` was first in, so that
    `ARTVPipeline(**pipeline.components)` is `pipeline` again; else the paper's.
    """

    about = About(
        "ART•V", "Auto-regressive text-to-video with masked diffusion (Weng et al., ART•V)."
    )
    parts = "lightning_artv.pipelines.artv.components"
    earlier_parts = ("lightning_artv.pipeline.components",)

    _optional_components = ["tokenizer", "mask_unet", "mask_conditioning"]  # noqa: RUF012
    _checked_parts = ("unet", "conditioning", "mask_unet", "mask_conditioning")

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
        super().__init__()
        settings = settled(
            conditioning,
            DEFAULTS,
            static_noise=static_noise,
            mask_bias=mask_bias,
            max_noise_level=max_noise_level,
            use_anchor=use_anchor,
            sampling=sampling,
            frame_size=frame_size,
            fps=fps,
            training=training,
        )
        if (mask_unet is None) != (settings["static_noise"] == "none") or (mask_unet is None) != (
            mask_conditioning is None
        ):
            raise UserError(
                "mask_unet and mask_conditioning go together, and are None for static_noise none."
            )
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            conditioning=conditioning,
            scheduler=scheduler,
            mask_unet=mask_unet,
            mask_conditioning=mask_conditioning,
        )
        self.register_to_config(**settings)

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
        tokens, tokenizer = text_parts_of(system.text_encoder)
        origin, denoiser, masking = system.origin, system.denoiser, system.denoiser.masking
        return cls(
            vae=vae_of(system.autoencoder),
            text_encoder=tokens,
            tokenizer=tokenizer,
            unet=plain_unet(denoiser.dynamic.unet),
            conditioning=Conditioning.of(denoiser.dynamic),
            scheduler=scheduler_for(denoiser.schedule, system.sampling, masking.prediction_type),
            mask_unet=None if denoiser.mask is None else plain_unet(denoiser.mask.unet),
            mask_conditioning=None if denoiser.mask is None else Conditioning.of(denoiser.mask),
            **{name: getattr(masking, name) for name in DEFAULTS},
            sampling=plain_sampling(system.sampling),
            frame_size=None if origin.size is None else list(origin.size),
            fps=origin.fps,
            training=None if training is None else dict(training),
        )

    @torch.no_grad()
    def __call__(
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
        """Make one video a prompt; what is None is as the model was trained or configured.

        Args:
            prompt: one, or a batch.
            image: the first frame (of each video, or one for all): PIL, a path, an array or a
                tensor (`media.picture`), scaled and cropped to the size. None: made from the text.
            num_frames: of each video, the first frame included.
            height, width: in pixels.
            num_inference_steps: denoising steps a frame.
            guidance_scale: of the text, as in other pipelines: 1 is none, and our weight plus 1.
            guidance_references, guidance_anchor: weights of the frames' guidance; 0 is none.
            noise_level: noise on references and anchor (t_test, paper Sec. 3.3).
            num_videos_per_prompt: videos of each prompt, one after the other.
            generator: one for all, or one a video; each video's noise is seeded from it.
            seed: instead of generators: video i has seed + i, and is the one that `generate_video`
                makes.
            output_type: `pil`, or arrays (`np`) or tensors (`pt`) in [0, 1].
            return_dict: False for a tuple of the frames.
            callback_on_step_end: called after each denoising step with the pipeline, the step
                (counted over all frames), the timestep, and a dict of `frame`, `clean` (the
                predicted clean latents) and `mask`; it looks and changes nothing.

        Raises:
            UserError: a request that cannot be served.
        """
        inputs.check_output(output_type)
        if callback_on_step_end is not None and not callable(callback_on_step_end):
            raise UserError(f"callback_on_step_end is {callback_on_step_end!r}: give a function.")
        prompts = inputs.prompts_of(prompt, num_videos_per_prompt)
        size = inputs.size_of(height, width, self.config.frame_size)
        generators = inputs.generators_of(len(prompts), generator, seed)
        first = inputs.first_frames(image, len(prompts), size)
        with assembled(self) as system:
            text = None if guidance_scale is None else inputs.text_weight(guidance_scale)
            changes = {
                "steps": num_inference_steps,
                "noise_level": noise_level,
                "guidance.references": guidance_references,
                "guidance.anchor": guidance_anchor,
                "guidance.text": text,
            }
            given = {name: value for name, value in changes.items() if value is not None}
            settings = with_settings(system.sampling, given)
            segments = [Segment(prompts, num_frames)]
            frames = self._roll(
                system, segments, generators, size, first, settings, callback_on_step_end
            )
        output = inputs.as_output(frames, output_type)
        return VideoPipelineOutput(output) if return_dict else (output,)

    def to_system(self) -> ARTV:
        """The system of these parts, for `generate_video`; the U-Nets are no longer plain."""
        return stay_assembled(self)

    def _roll(
        self,
        system: ARTV,
        segments: Sequence[Segment],
        generators: Generators,
        size: tuple[int, int],
        first: Tensor | None,
        settings: ARTVSampling,
        on_step: OnStep | None,
    ) -> Tensor:
        """All frames, uint8 `[B, T, 3, H, W]` on the CPU, under a progress bar."""
        total = settings.steps_of(segments[0].frames, first is not None)
        done = count()
        with self.progress_bar(total=total) as bar:

            def observe(step: DenoisingStep) -> None:
                bar.update()
                if on_step is None:
                    return
                mask = step.mask if isinstance(step, MaskedStep) else None
                seen = {"frame": step.frame, "clean": step.clean, "mask": mask}
                on_step(self, next(done), step.timestep, seen)

            frames = system.generate(segments, generators, size, first, settings, observe)
            return torch.stack([frame.cpu() for frame in frames], dim=1)


# for `DiffusionPipeline.from_pretrained`, which looks there for the class that a folder names
diffusers.ARTVPipeline = ARTVPipeline
