"""What pipelines of systems with layers over time share: the call, and those layers as a part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Literal

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from lightning_artv.errors import UserError
from lightning_artv.media import Picture
from lightning_artv.networks.temporal import Clip, Layers, TemporalAttention
from lightning_artv.pipelines import inputs
from lightning_artv.pipelines.parts import key
from lightning_artv.pipelines.stored import StoredPipeline, VideoPipelineOutput
from lightning_artv.systems.base import Segment, VideoModel
from lightning_artv.systems.settings import with_settings

PARTS = ("vae", "text_encoder", "unet", "temporal", "scheduler")


class OverTime:
    """Layers over time of a plain U-Net, as a diffusers model that holds them (a mixin).

    Attributes:
        config: `convolutions` and `attentions` name the modules that are followed by a layer.
        layers: those layers, by `key`.
        clip: tells them how many frames a clip has.
    """

    config: Any
    layers: nn.ModuleDict
    clip: Clip

    def by_name(self) -> Layers:
        """As `networks.temporal.install` takes them."""
        names = {key(name): name for name in (*self.config.convolutions, *self.config.attentions)}
        return {names[short]: layer for short, layer in self.layers.items()}  # type: ignore[misc]

    def check_fits(self, unet: UNet2DConditionModel) -> None:
        """Raises:
        UserError: a U-Net of another layout.
        """
        modules = dict(unet.named_modules())
        wrong = [name for name in self.by_name() if name not in modules]
        sizes = self.config.convolutions.items()
        wrong += [n for n, c in sizes if getattr(modules.get(n), "out_channels", None) != c]
        if wrong:
            raise UserError(
                f"The U-Net does not fit the layers over time ({wrong[0]}): give one of the layout "
                "that they were trained in."
            )

    def installed(self, unet: UNet2DConditionModel) -> AbstractContextManager[None]:
        """Within, `unet` has the layers; then it is an image model again."""
        raise NotImplementedError

    def install(self, unet: UNet2DConditionModel) -> None:
        """Put the layers into `unet`, in place.

        Raises:
            UserError: a U-Net of another layout.
        """
        raise NotImplementedError


def sides(layer: TemporalAttention) -> list[int]:
    """Width and heads."""
    return [layer.attention.inner_dim, layer.attention.heads]


class ClipPipeline(StoredPipeline):
    """A pipeline whose U-Nets have their layers over time only while frames are made."""

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
    ) -> VideoPipelineOutput | tuple[Any]:
        """Make one video per prompt; what is None is as the model was trained or configured.

        Args:
            prompt: one, or a batch.
            image: the picture that the video begins with or refers to (of each video, or one for
                all); None where it needs none.
            num_frames: of each video, any number.
            height, width: in pixels.
            num_inference_steps: denoising steps per clip, in VideoGen of the base.
            guidance_scale: of the text, as in other pipelines: 1 is none, and our weight plus 1.
            settings: other fields of the system's sampling by name, as after `--set`.
            num_videos_per_prompt: videos of each prompt, one after the other.
            generator: one for all, or one per video; each video's noise is seeded from it.
            seed: instead of generators: video i has seed + i, and is the one that `generate_video`
                makes.
            output_type: `pil`, or arrays (`np`) or tensors (`pt`) in [0, 1].
            return_dict: False for a tuple of the frames.

        Raises:
            UserError: a request that cannot be served.
        """
        inputs.check_output(output_type)
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
        with self._assembled() as system:
            sampling = with_settings(system.sampling, given)
            segments = [Segment(prompts, num_frames)]
            frames = system.generate(segments, generators, size, first, sampling)
            bar = self.progress_bar(frames, total=num_frames)
            video = torch.stack([frame.cpu() for frame in bar], dim=1)
        output = inputs.as_output(video, output_type)
        return VideoPipelineOutput(output) if return_dict else (output,)

    def to_system(self) -> VideoModel:
        """The system of these parts, for `generate_video`; the U-Nets are no longer plain."""
        for unet, layers in self._networks():
            layers.install(unet)
        return self._assemble()

    @contextmanager
    def _assembled(self) -> Iterator[VideoModel]:
        """The system of the current parts, in their precision; then they are as before."""
        missing = [name for name in PARTS if getattr(self, name) is None]
        if missing:
            raise UserError(f"The pipeline has no {missing[0]}: give one.")
        with ExitStack() as stack:
            for unet, layers in self._networks():
                stack.enter_context(layers.installed(unet))
            if self.unet.dtype != torch.float32:  # latents stay float32
                stack.enter_context(torch.autocast(self.device.type, dtype=self.unet.dtype))
            yield self._assemble()

    def _networks(self) -> list[tuple[UNet2DConditionModel, OverTime]]:
        """The U-Nets that are there, each with its layers over time."""
        raise NotImplementedError

    def _assemble(self) -> VideoModel:
        """The system of the parts, whose layers are installed."""
        raise NotImplementedError
