"""A system as a diffusers pipeline: its parts, the call, and the system that they make."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import count
from typing import Any, Literal, Protocol, TypeVar

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from lightning_artv.diffusion.noise import Generators
from lightning_artv.errors import UserError
from lightning_artv.media import Picture
from lightning_artv.pipelines import inputs
from lightning_artv.pipelines.parts import text_parts_of, vae_of
from lightning_artv.pipelines.schedulers import plain_sampling, scheduler_for
from lightning_artv.pipelines.stored import StoredPipeline, VideoPipelineOutput
from lightning_artv.systems.base import DenoisingStep, Segment, VideoModel
from lightning_artv.systems.latent import LatentTrainable
from lightning_artv.systems.settings import with_settings

SETTINGS = ("sampling", "frame_size", "fps", "training")
"""What every pipeline's constructor takes besides parts."""

OnStep = Callable[["SystemPipeline", int, int, dict[str, Any]], object]
PipelineT = TypeVar("PipelineT", bound="SystemPipeline")


class Installable(Protocol):
    """What a system has in a plain U-Net."""

    def install(self, unet: UNet2DConditionModel) -> None:
        """Put it into `unet`, in place.

        Raises:
            UserError: a U-Net of another layout.
        """

    def installed(self, unet: UNet2DConditionModel) -> AbstractContextManager[None]:
        """Within, it is in `unet`; then that is Stable Diffusion's again."""


def takes(first: str, defaults: Mapping[str, Any]) -> Callable[[Any], Any]:
    """A pipeline's constructor that keeps its arguments as diffusers does; its body may check them.

    Args:
        first: name of the part that remembers the settings of the first pipeline it was in: a
            setting that is None is taken from there, so that a pipeline of another's components is
            that pipeline again.
        defaults: name -> value of the settings besides `SETTINGS`, where nobody says it.
    """
    names = (*defaults, *SETTINGS)

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(check)
        def init(self: SystemPipeline, *args: Any, **kwargs: Any) -> None:
            super(SystemPipeline, self).__init__()
            bound = inspect.signature(check).bind(self, *args, **kwargs)
            bound.apply_defaults()
            _, *given = bound.arguments.items()
            parts = {name: value for name, value in given if name not in names}
            asked = {name: value for name, value in given if name in names}
            self.register_modules(**parts)
            self.register_to_config(**settled(parts[first], defaults, asked))
            check(self, *args, **kwargs)

        return init

    return decorate


def settled(
    part: nn.Module, defaults: Mapping[str, Any], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """`asked`, with those of the first pipeline that `part` was in for what is None, else the
    defaults.
    """
    first = getattr(part, "first_settings", {})
    settings = {
        name: first.get(name, defaults.get(name)) if value is None else value
        for name, value in asked.items()
    }
    if not first:
        part.first_settings = settings  # type: ignore[assignment]
    return settings


class SystemPipeline(StoredPipeline):
    """A pipeline whose U-Nets are Stable Diffusion's but while frames are made by our own rollout.

    `from_pretrained`, `save_pretrained`, `push_to_hub`, `to`, a call. `unet`, `vae`,
    `text_encoder`, `tokenizer` and `scheduler` are Stable Diffusion's classes, and parts may be
    exchanged with its pipelines in both directions.

    Args:
        vae: AutoencoderKL, or a `PixelUnshuffleVAE`.
        text_encoder: CLIPTextModel, or a `ByteTextModel`, which needs no tokenizer.
        tokenizer: CLIPTokenizer or None.
        unet: image model.
        scheduler: noise schedule, prediction type and sampler: DDIM or DPM-Solver++ (2M).
        sampling: defaults of a call, by the names of the system's settings.
        frame_size: trained height and width.
        fps: trained frames per second.
        training: what the model card tells of the training.

    A setting that is None is that of the pipeline that the system's own part (`conditioning`,
    `temporal`) was first in, so that `Pipeline(**pipeline.components)` is `pipeline` again; else
    the paper's.
    """

    @classmethod
    def _of(
        cls: type[PipelineT],
        system: VideoModel,
        trained: LatentTrainable[Any, Any, Any],
        kind: str,
        training: Mapping[str, Any] | None,
        **own: Any,
    ) -> PipelineT:
        """The pipeline of a system.

        Args:
            system: what is exported.
            trained: the part of it that holds autoencoder, text encoder and schedule.
            kind: what its networks predict.
            training: what the model card tells.
            own: parts and settings that only such systems have.
        """
        tokens, tokenizer = text_parts_of(trained.text_encoder)
        size = system.origin.size
        return cls(
            vae=vae_of(trained.autoencoder),
            text_encoder=tokens,
            tokenizer=tokenizer,
            scheduler=scheduler_for(trained.denoiser.schedule, system.sampling, kind),  # type: ignore[arg-type]
            sampling=plain_sampling(system.sampling),
            frame_size=None if size is None else list(size),
            fps=system.origin.fps,
            training=None if training is None else dict(training),
            **own,
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
        settings: Mapping[str, Any] | None = None,
        num_videos_per_prompt: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seed: int | None = None,
        output_type: Literal["pil", "np", "pt"] = "pil",
        return_dict: bool = True,
        callback_on_step_end: OnStep | None = None,
    ) -> VideoPipelineOutput | tuple[Any]:
        """Make one video per prompt; what is None is as the model was trained or configured.

        Args:
            prompt: one, or a batch.
            image: the first frame or the picture that is referred to (of each video, or one for
                all): PIL, a path, an array or a tensor (`media.picture`), scaled and cropped to the
                size. None: made from the text.
            num_frames: number of frames of each video, the first frame included.
            height, width: sides in pixels.
            num_inference_steps: denoising steps per frame or clip, in VideoGen of the base.
            guidance_scale: scale of the text, as in other pipelines: 1 is none, and our weight plus
                1.
            settings: other fields of the system's sampling by name, as after `--set`.
            num_videos_per_prompt: videos of each prompt, one after the other.
            generator: one for all, or one per video; each video's noise is seeded from it.
            seed: instead of generators: video i has seed + i, and is the one that `generate_video`
                makes.
            output_type: `pil`, or arrays (`np`) or tensors (`pt`) in [0, 1].
            return_dict: False for a tuple of the frames.
            callback_on_step_end: called after each denoising step with the pipeline, the step
                (counted over all frames), the timestep, and a dict of `frame`, `clean` (the
                predicted clean latents) and what else the system has to show; it looks and changes
                nothing.

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
        changes = {
            "steps": num_inference_steps,
            "guidance.text": None if guidance_scale is None else inputs.text_weight(guidance_scale),
            **(settings or {}),
        }
        given = {name: value for name, value in changes.items() if value is not None}
        segment = Segment(prompts, num_frames)
        video = self._video(segment, generators, size, first, given, callback_on_step_end)
        output = inputs.as_output(video, output_type)
        return VideoPipelineOutput(output) if return_dict else (output,)

    def _video(
        self,
        segment: Segment,
        generators: Generators,
        size: tuple[int, int],
        first: Tensor | None,
        given: Mapping[str, Any],
        on_step: OnStep | None,
    ) -> Tensor:
        """Videos uint8 `[B, T, 3, H, W]` on the CPU, under a progress bar; `given`: settings in the
        place of the system's.
        """
        done = count()

        def observe(step: DenoisingStep) -> None:
            assert on_step is not None
            on_step(self, next(done), step.timestep, self._seen(step))

        with self._assembled() as system:
            sampling = with_settings(system.sampling, given)
            observer = None if on_step is None else observe
            frames = system.generate([segment], generators, size, first, sampling, observer)
            bar = self.progress_bar(frames, total=segment.frames)
            return torch.stack([frame.cpu() for frame in bar], dim=1)

    def to_system(self) -> VideoModel:
        """The system of these parts, for `generate_video`; the U-Nets are no longer plain."""
        for unet, part in self._networks():
            part.install(_uncompiled(unet))
        return self._assemble()

    @contextmanager
    def _assembled(self) -> Iterator[VideoModel]:
        """The system of the current parts, in their precision; then they are as before."""
        needed, _ = self._get_signature_keys(self)
        for name in sorted(set(needed) - set(self._optional_components)):
            if getattr(self, name) is None:
                raise UserError(f"The pipeline has no {name}: give one.")
        if self.device.type == "meta":
            raise UserError("Sequential CPU offload does not fit frame-by-frame generation.")
        with ExitStack() as stack:
            for unet, part in self._networks():
                stack.enter_context(part.installed(_uncompiled(unet)))
            if self.unet.dtype != torch.float32:  # latents stay float32
                stack.enter_context(torch.autocast(self.device.type, dtype=self.unet.dtype))
            yield self._assemble()

    def _networks(self) -> Sequence[tuple[UNet2DConditionModel, Installable]]:
        """The U-Nets that are there (perhaps compiled), each with what the system has in it."""
        raise NotImplementedError

    def _assemble(self) -> VideoModel:
        """The system of the parts, which are installed."""
        raise NotImplementedError

    def _seen(self, step: DenoisingStep) -> dict[str, Any]:
        """What `callback_on_step_end` is shown."""
        return {"frame": step.frame, "clean": step.clean}


def _uncompiled(unet: nn.Module) -> UNet2DConditionModel:
    """The module itself where `unet` is what `torch.compile` wrapped around it."""
    return getattr(unet, "_orig_mod", unet)
