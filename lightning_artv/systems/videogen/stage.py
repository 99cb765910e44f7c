"""VideoGen's stages: clips at one size, with the loss that each is trained by (paper Sec. 3.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor, nn

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.augment import augment
from lightning_artv.diffusion.loss import clean_error, loss_weights
from lightning_artv.diffusion.noise import Generators, rand, randint, randn, random_steps
from lightning_artv.errors import UserError, check_whole
from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.networks.unet import UNetSource
from lightning_artv.systems.base import LossOutput
from lightning_artv.systems.latent import LatentTrainable
from lightning_artv.systems.videogen.cascade import Sharpener, Upsampling, doubled, resized
from lightning_artv.systems.videogen.clip import make_clip
from lightning_artv.systems.videogen.denoiser import (
    DenoiserOptions,
    StageConditions,
    StageDenoiser,
    build_denoiser,
    widened,
)
from lightning_artv.systems.videogen.settings import StageTraining, VideoGenSampling
from lightning_artv.systems.videogen.windows import SpacedFrames

DENOISER, TRAINING, SAMPLING = DenoiserOptions(), StageTraining(), VideoGenSampling()
FPS = 8.0
"""Of a batch that does not say it."""


class Stage(LatentTrainable[StageDenoiser, StageTraining, VideoGenSampling]):
    """Clips at one size, of a text, a frame rate and a reference picture.

    Its parts are those of `LatentTrainable`.
    """

    windows = SpacedFrames
    whole = "lightning_artv.systems.videogen.video.VideoGen"

    def __init__(
        self,
        denoiser: StageDenoiser,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        training: StageTraining = TRAINING,
        sampling: VideoGenSampling = SAMPLING,
    ) -> None:
        super().__init__(denoiser, autoencoder, text_encoder, training, sampling)

    def widen(self, name: str, stored: Tensor, parameter: Tensor) -> Tensor | None:
        """A stage starts as the one before it, whose networks read less."""
        return widened(name, stored, parameter)

    def loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        """The squared error of each frame's noise, at one step per clip; frame 0 is the reference.

        Raises:
            UserError: clips of another length than the system's.
        """
        frames = self.denoiser.clip_frames
        if batch.choice.shape[2] != frames:
            raise UserError(
                f"The clips have {batch.choice.shape[2]} frames but the system's {frames}: set "
                "data.windows.init_args.frames to model.system.init_args.denoiser.clip_frames."
            )
        schedule, options = self.denoiser.schedule, self.training_options
        z0 = batch.gather(self.autoencoder.encode_clips(batch.frames, generators))
        t = random_steps(generators, len(schedule), options.from_noise, z0.device)
        eps = randn(generators, z0.shape[1:], z0.device)
        conditions = self._conditions(batch, generators)
        encoded = self.denoiser.encode(conditions)
        clean = self.denoiser.denoise(schedule.add_noise(z0, eps, t), t, encoded).clean
        weights = loss_weights(schedule, t, options.loss_weighting)
        per_sample = weights * clean_error(clean, z0, options.huber)
        return LossOutput(per_sample.mean(), per_sample.detach(), t / len(schedule))

    def _conditions(self, batch: VideoBatch, generators: Generators) -> StageConditions:
        """What a batch's clips are shown; some are without text, some without reference."""
        options, device = self.training_options, batch.frames.device
        no_text, no_reference = rand(generators, (2,)).unbind(1)
        dropped = zip(batch.each_target(batch.captions), no_text, strict=True)
        text = self.text_encoder(["" if u < options.text_dropout else c for c, u in dropped])
        rates = torch.full((len(batch.frames),), FPS) if batch.rates is None else batch.rates
        reference = self._encoded(batch.gather(batch.frames)[:, 0])
        kept = (no_reference >= options.reference_dropout).to(device)
        fps = rates.to(device).repeat_interleave(batch.targets_per_window)
        return StageConditions(text, fps, reference * kept[:, None, None, None])

    def _encoded(self, frames: Tensor) -> Tensor:
        """Mean latents of frames `[N, ...]`, pixels or stored ones."""
        is_pixels = frames.dtype == torch.uint8
        return (self.autoencoder.encode if is_pixels else self.autoencoder.restore)(frames)


class Cascade(Stage):
    """A stage above the base: clips of twice the size of the stage before, which it is shown.

    Args:
        doublings: how many times larger than the base, as a power of 2: 1 or 2 in the paper.
        upsampling: how the stage before is doubled: `latents` (the paper's), `pixels`, `learned`.
        others: see `LatentTrainable`.
    """

    def __init__(
        self,
        denoiser: StageDenoiser,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        doublings: int = 1,
        upsampling: Upsampling = "latents",
        training: StageTraining = TRAINING,
        sampling: VideoGenSampling = SAMPLING,
    ) -> None:
        super().__init__(denoiser, autoencoder, text_encoder, training, sampling)
        check_whole("doublings", doublings, 1)
        if upsampling not in get_args(Upsampling):
            raise UserError(f"upsampling is {upsampling!r}: choose latents, pixels or learned.")
        self.part, self.doublings = f"cascade-{doublings}", doublings
        self.upsampling: Upsampling = upsampling
        is_learned = upsampling == "learned"
        self.sharpener = Sharpener(autoencoder.grid[0]) if is_learned else None

    @classmethod
    def build(
        cls,
        unet: UNetSource,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        doublings: int = 1,
        upsampling: Upsampling = "latents",
        denoiser: DenoiserOptions = DENOISER,
        training: StageTraining = TRAINING,
        sampling: VideoGenSampling = SAMPLING,
    ) -> Cascade:
        """A stage as it starts training; configurations name this as their `class_path`.

        Args:
            unet: where the image model comes from; `init_from` starts it as the stage before.
            autoencoder: pixels to latents.
            text_encoder: captions to tokens.
            doublings: how many times larger than the base, as a power of 2.
            upsampling: how the stage before is doubled, see `Upsampling`.
            denoiser: what is built of them.
            training: how the loss is made.
            sampling: defaults of generation.
        """
        channels, width = autoencoder.channels, text_encoder.width
        networks = build_denoiser(unet, channels, width, denoiser, is_base=False)
        return cls(networks, autoencoder, text_encoder, doublings, upsampling, training, sampling)

    def _conditions(self, batch: VideoBatch, generators: Generators) -> StageConditions:
        """Also the true stage before, doubled, with some noise on it."""
        conditions = super()._conditions(batch, generators)
        lower = self.doubled(self.lower_of(batch))
        most = self.training_options.most_noise
        level = randint(generators, 0, most + 1, lower.device)
        noise = randn(generators, lower.shape[1:], lower.device)
        shown = augment(self.denoiser.schedule, lower, noise, level)
        return replace(conditions, lower=shown, level=level)

    def doubled(self, lower: Tensor) -> Tensor:
        """U of the latents of the stage before; see `cascade.doubled`."""
        return doubled(self.autoencoder, lower, self.upsampling, self.sharpener)

    def shard_units(self) -> list[nn.Module]:
        """Also what sharpens the stage before."""
        return [*super().shard_units(), *([] if self.sharpener is None else [self.sharpener])]

    def lower_of(self, batch: VideoBatch) -> Tensor:
        """Latents of a batch's clips at the size of the stage before, `[B, T, C, h/2, w/2]`.

        Raises:
            UserError: stored latents, which are of one size.
        """
        if batch.frames.dtype != torch.uint8:
            raise UserError(
                "A stage of the cascade reads its clips at two sizes: give shards of videos, not "
                "of latents."
            )
        frames = batch.gather(batch.frames)
        half = (frames.shape[-2] // 2, frames.shape[-1] // 2)
        small = resized(frames.flatten(0, 1), half)
        return self._encoded(small).unflatten(0, frames.shape[:2])

    @torch.no_grad()
    def preview(self, batch: VideoBatch, generators: Generators) -> dict[str, Tensor]:
        """Clips: the true ones, the true stage before doubled, and what is made of that."""
        lower = self.doubled(self.lower_of(batch))
        truth = batch.gather(batch.frames)
        conditions = Stage._conditions(self, batch, generators)
        shown = replace(conditions, reference=self._encoded(truth[:, 0]), lower=lower)
        null_text = self.text_encoder([""] * len(lower))
        made = make_clip(self.denoiser, shown, null_text, self.sampling, generators)
        decode = self.autoencoder.decode_clip
        return {"truth": truth, "doubled": decode(lower), "made": decode(made)}
