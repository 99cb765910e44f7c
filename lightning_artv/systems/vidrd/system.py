"""VidRD: a clip model over a trained image model, its loss and its generation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from lightning_artv.batch import VideoBatch
from lightning_artv.data.windows import ConsecutiveFrames
from lightning_artv.diffusion.loss import clean_error, loss_weights
from lightning_artv.diffusion.noise import Generators, rand, randn, random_steps
from lightning_artv.diffusion.samplers import Denoise, Sampler
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.networks.unet import UNetSource
from lightning_artv.systems.base import (
    LossOutput,
    Observer,
    Request,
    SamplingSettings,
)
from lightning_artv.systems.latent import LatentSystem
from lightning_artv.systems.teaching import Exercise, Practice, Teachable
from lightning_artv.systems.vidrd.denoiser import (
    ClipConditions,
    DenoiserOptions,
    VidRDDenoiser,
    build_denoiser,
)
from lightning_artv.systems.vidrd.rollout import Parts, guided, rollout
from lightning_artv.systems.vidrd.settings import VidRDSampling, VidRDTraining

DENOISER, TRAINING, SAMPLING = DenoiserOptions(), VidRDTraining(), VidRDSampling()


class VidRD(LatentSystem[VidRDDenoiser, VidRDTraining, VidRDSampling], Teachable):
    """Text-to-video a clip at a time, joined to any length.

    Its parts are those of `LatentTrainable`.

    Raises:
        UserError: more given or prompt frames than a clip has room for.
    """

    windows = ConsecutiveFrames
    pipeline = "lightning_artv.pipelines.vidrd.VidRDPipeline"

    def __init__(
        self,
        denoiser: VidRDDenoiser,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        training: VidRDTraining = TRAINING,
        sampling: VidRDSampling = SAMPLING,
    ) -> None:
        super().__init__(denoiser, autoencoder, text_encoder, training, sampling)
        self.continues = training.given_frames > 0
        sampling.check_clip(sampling.clip_frames or denoiser.clip_frames)
        if self.continues and training.most_given >= denoiser.clip_frames:
            raise UserError(
                f"most_given is {training.most_given}, but clips have {denoiser.clip_frames} "
                "frames, of which one must be left to make: lower it."
            )

    @classmethod
    def build(
        cls,
        unet: UNetSource,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        denoiser: DenoiserOptions = DENOISER,
        training: VidRDTraining = TRAINING,
        sampling: VidRDSampling = SAMPLING,
    ) -> VidRD:
        """A system as it starts training; configurations name this as their `class_path`.

        Args:
            unet: where the image model comes from.
            autoencoder: pixels to latents.
            text_encoder: captions to tokens.
            denoiser: what is built of them.
            training: how the loss is made.
            sampling: defaults of generation.
        """
        networks = build_denoiser(unet, autoencoder.channels, text_encoder.width, denoiser)
        return cls(networks, autoencoder, text_encoder, training, sampling)

    def given(self, batch: VideoBatch) -> Tensor | None:
        """The clips' first frames, where the system was trained to be given some."""
        return self.pixels(batch.gather(batch.frames)[:, 0]) if self.continues else None

    # Training

    def loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        """Eq. 3: the squared error of each frame's noise, at one step per clip.

        Raises:
            UserError: clips of another length than the system's.
        """
        frames, clip_frames = batch.choice.shape[2], self.denoiser.clip_frames
        if frames != clip_frames:
            raise UserError(
                f"The data's clips have {frames} frames but the system's {clip_frames}: set "
                "data.windows.init_args.frames to model.system.init_args.denoiser.clip_frames."
            )
        schedule, options = self.denoiser.schedule, self.training_options
        z0 = batch.gather(self.autoencoder.encode_clips(batch.frames, generators))
        t = random_steps(generators, len(schedule), options.from_noise, z0.device)
        eps = randn(generators, z0.shape[1:], z0.device)
        text, given = self._conditions(batch, generators)
        conditions = ClipConditions(text, given, None if given is None else z0)
        encoded = self.denoiser.encode(conditions)
        denoised = self.denoiser.denoise(schedule.add_noise(z0, eps, t), t, encoded)
        per_sample = loss_weights(schedule, t, options.loss_weighting) * clean_error(
            denoised.clean, z0
        )
        if given is not None:  # a mean over the frames that have a loss
            per_sample = per_sample * frames / (~given).sum(dim=1)
        return LossOutput(per_sample.mean(), per_sample.detach(), t / len(schedule))

    def _conditions(
        self, batch: VideoBatch, generators: Generators
    ) -> tuple[Tensor, Tensor | None]:
        """Text tokens, some of no text, and which frames are given."""
        options, device = self.training_options, batch.frames.device
        without_text, is_given, how_many = rand(generators, (3,)).unbind(1)
        captions = batch.each_target(batch.captions)
        dropped = without_text < options.text_dropout
        text = self.text_encoder(
            ["" if drop else caption for caption, drop in zip(captions, dropped, strict=True)]
        )
        if not self.continues:
            return text, None
        count = (1 + (how_many * options.most_given).long()) * (is_given < options.given_frames)
        return text, (torch.arange(batch.choice.shape[2]) < count[:, None]).to(device)

    # Distillation

    @torch.no_grad()
    def exercises(
        self, batch: VideoBatch, practice: Practice, generators: Generators
    ) -> list[Exercise]:
        """See `Teachable`: whole clips, made from their texts alone.

        Raises:
            UserError: a share of own or first frames; a clip has neither.
        """
        if practice.own or practice.first:
            raise UserError("A clip of VidRD follows nothing: set own and first to 0.")
        clips = batch.gather(self.autoencoder.encode_clips(batch.frames, generators))
        rows = torch.arange(len(clips), device=clips.device)
        return [Exercise(rows, clips, False, batch.each_target(batch.captions))]

    def solution(self, exercise: Exercise, settings: SamplingSettings) -> tuple[Sampler, Denoise]:
        """See `Teachable`; without fresh noise (`eta`): one noise, one answer."""
        assert isinstance(settings, VidRDSampling)
        captions = exercise.conditions
        text, null_text = self.text_encoder(captions), self.text_encoder([""] * len(captions))
        weight = settings.guidance.text
        answer = guided(self.denoiser, ClipConditions(text), null_text, weight)
        return replace(settings.solver(holds_noised=False), eta=0.0), answer

    # Generation

    def check(self, request: Request) -> None:
        """See `VideoSystem.check`."""
        if request.first_frame is not None and not self.continues:
            raise UserError(
                "This VidRD cannot continue a first frame: it was trained without given_frames "
                "(model.system.init_args.training.given_frames), so give it a text alone."
            )
        super().check(request)
        settings = request.settings
        if not isinstance(settings, VidRDSampling):
            raise UserError(
                f"{type(settings).__name__} are no settings of VidRD: give VidRDSampling."
            )
        length = len(self.denoiser.schedule)
        if settings.steps > length:
            raise UserError(f"{settings.steps} steps: choose 1 to {length}.")
        clip_frames = settings.clip_frames or self.denoiser.clip_frames
        settings.check_clip(clip_frames)
        most = self.training_options.most_given
        if self.continues and settings.join == "overlap" and settings.prompt_frames > most:
            raise UserError(
                f"{settings.prompt_frames} prompt frames would be given clean in each clip, but "
                f"the system was trained to be given {most} at most: lower prompt_frames."
            )
        if settings.join == "reuse" and 2 * settings.prompt_frames > clip_frames:
            warnings.warn(
                f"{settings.prompt_frames} prompt frames of {clip_frames}: more than half, so "
                "those in the middle never get new noise and return in every clip.",
                stacklevel=2,
            )

    def frames(self, request: Request, observer: Observer | None = None) -> Iterator[Tensor]:
        """See `VideoSystem.frames` and `rollout.py`."""
        parts = Parts(self.denoiser, self.autoencoder, self.text_encoder, self.continues)
        return rollout(parts, request, observer)
