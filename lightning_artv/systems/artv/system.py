"""ART•V: the masked diffusion model, its loss and its generation (paper Sec. 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import Generators, rand
from lightning_artv.diffusion.samplers import SAMPLERS, Denoise, Sampler
from lightning_artv.diffusion.schedule import broadcast
from lightning_artv.diffusion.transfer import to_device
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.networks.unet import UNetSource
from lightning_artv.systems.artv.augmentation import faults
from lightning_artv.systems.artv.build import DenoiserOptions, build_denoiser
from lightning_artv.systems.artv.denoiser import ARTVDenoiser, Encoded
from lightning_artv.systems.artv.earlier import WEIGHTS
from lightning_artv.systems.artv.exercises import Conditioned, exercises
from lightning_artv.systems.artv.figures import MaskRecorder
from lightning_artv.systems.artv.guided import GuidedDenoiser
from lightning_artv.systems.artv.objective import Noised, conditioned, weighted_error
from lightning_artv.systems.artv.own_references import OwnFrames, own_references
from lightning_artv.systems.artv.references import FrameConditions
from lightning_artv.systems.artv.rollout import rollout
from lightning_artv.systems.artv.settings import ARTVSampling, ARTVTraining
from lightning_artv.systems.artv.streams import Flight
from lightning_artv.systems.artv.windows import NextFrame, Roles, in_roles
from lightning_artv.systems.base import (
    LossOutput,
    Observer,
    Request,
    SamplingSettings,
)
from lightning_artv.systems.latent import LatentSystem
from lightning_artv.systems.teaching import Exercise, Practice, Teachable

DENOISER, TRAINING, SAMPLING = DenoiserOptions(), ARTVTraining(), ARTVSampling()


class ARTV(LatentSystem[ARTVDenoiser, ARTVTraining, ARTVSampling], Teachable):
    """Auto-regressive text-to-video with masked diffusion.

    Its parts are those of `LatentTrainable`.
    """

    renamed: ClassVar[Mapping[str, str]] = WEIGHTS
    windows = NextFrame
    continues = True
    pipeline = "lightning_artv.pipelines.artv.ARTVPipeline"

    def __init__(
        self,
        denoiser: ARTVDenoiser,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        training: ARTVTraining = TRAINING,
        sampling: ARTVSampling = SAMPLING,
    ) -> None:
        super().__init__(denoiser, autoencoder, text_encoder, training, sampling)
        self._flight: Flight | None = None

    @classmethod
    def build(
        cls,
        unet: UNetSource,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        denoiser: DenoiserOptions = DENOISER,
        training: ARTVTraining = TRAINING,
        sampling: ARTVSampling = SAMPLING,
    ) -> ARTV:
        """A system as it starts training; configurations name this as their `class_path`.

        Args:
            unet: where the U-Nets come from.
            autoencoder: pixels to latents.
            text_encoder: captions to tokens.
            denoiser: what is built of them.
            training: how the loss is made.
            sampling: defaults of generation.
        """
        networks = build_denoiser(unet, autoencoder.channels, text_encoder.width, denoiser)
        return cls(networks, autoencoder, text_encoder, training, sampling)

    def given(self, batch: VideoBatch) -> Tensor:
        """The anchor frames."""
        return self.pixels(in_roles(batch).anchor)

    # Training

    def loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        """Eq. 4 on the masked prediction of Eq. 7, both networks together."""
        if self.training and self.training_options.streams:
            return self._streamed_loss(batch, generators)
        y0, conditions, captions = self.prepare(batch, generators)
        noised = Noised.draw(self.denoiser.schedule, y0, generators)
        return self._output(noised, conditions, captions)[0]

    def prepare(
        self, batch: VideoBatch, generators: Generators
    ) -> tuple[Tensor, FrameConditions, tuple[str, ...]]:
        """Target latents, augmented conditions and captions, some dropped (Sec. 3.3, 4).

        Args:
            generators: one per target; the first of each window also draws its frames' latents.
        """
        windows = generators[:: batch.targets_per_window]
        frames = self.autoencoder.encode_clips(batch.frames, windows)
        roles, options = in_roles(batch, frames), self.training_options
        if self.training and options.own_references:
            own = self._own_references(batch, frames, windows)
            roles = replace(roles, references=in_roles(batch, own).references)
        captions = batch.each_target(batch.captions)
        return roles.target, *self._condition(roles, captions, generators)

    def _streamed_loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        """The loss of one target of each window in flight, which the batch's join."""
        windows, options = generators[:: batch.targets_per_window], self.training_options
        frames = self.autoencoder.encode_clips(batch.frames, windows)
        kind = rand(windows, (2,), frames.device)
        first = kind[:, 0] < options.first_frame_share
        own = (kind[:, 1] < options.own_references) & ~first
        flight = Flight.start(batch, frames, first, own)
        if self._flight is not None:
            flight = self._flight.joined(flight)
        generators = [g for g, _ in zip(cycle(generators), flight.keys)]
        roles = flight.roles()
        conditions, captions = self._condition(roles, flight.captions, generators, flight.first)
        noised = Noised.draw(self.denoiser.schedule, roles.target, generators)
        blind = (rand(generators, (), frames.device) < options.from_noise) & flight.own
        noised = noised.blind(blind, len(self.denoiser.schedule) - 1, generators)
        output, made = self._output(noised, conditions, captions)
        if (clip := self.sampling.clip_latents) is not None:
            made = made.clamp(-clip, clip)
        kept = broadcast(conditions.has_reference, made)
        self._flight = flight.after(made.where(kept, roles.target))
        return replace(output, keys=flight.keys)

    def carried(self) -> dict[str, Any]:
        """The windows in flight."""
        streams = self.training_options.streams
        return self._flight.state() if streams and self._flight is not None else {}

    def carry(self, state: Mapping[str, Any]) -> None:
        """The inverse of `carried`."""
        names = {name: tuple(state[name]) for name in ("captions", "keys")} if state else {}
        self._flight = Flight(**{**state, **names}) if state else None

    def _condition(
        self,
        roles: Roles,
        captions: tuple[str, ...],
        generators: Generators,
        first: Tensor | None = None,
    ) -> tuple[FrameConditions, tuple[str, ...]]:
        options = self.training_options
        if self.training and options.reference_noise:
            noise = faults(roles.references, options.reference_noise, generators)
            roles = replace(roles, references=roles.references + noise)
        return conditioned(self.denoiser, options, roles, captions, generators, first)

    def _output(
        self, noised: Noised, conditions: FrameConditions, captions: tuple[str, ...]
    ) -> tuple[LossOutput, Tensor]:
        """The loss, and the clean latents that were predicted, detached."""
        encoded = self.denoiser.encode((conditions, self.encode_text(captions)))
        denoised = self.denoiser.denoise(noised.y_t, noised.t, encoded)
        options, schedule, mask = self.training_options, self.denoiser.schedule, denoised.mask
        known = conditions.has_reference
        per_sample = weighted_error(schedule, options, denoised.clean, noised, known)
        output = LossOutput(
            loss=per_sample.mean(),
            per_sample=per_sample.detach(),
            level=noised.t / len(schedule),
            scalars={} if mask is None else {"mask": mask.detach().float().mean(dim=(1, 2, 3))},
        )
        return output, denoised.clean.detach()

    # Distillation

    @torch.no_grad()
    def exercises(
        self, batch: VideoBatch, practice: Practice, generators: Generators
    ) -> list[Exercise]:
        """See `Teachable`; its own frames are made as generation makes them."""
        windows = generators[:: batch.targets_per_window]
        frames = self.autoencoder.encode_clips(batch.frames, windows)
        roles, sampling = in_roles(batch, frames), self.sampling
        if practice.own:
            how = OwnFrames(
                practice.own, sampling.steps, sampling.noise_level, sampling.clip_latents
            )
            text = self.encode_text(batch.captions)
            own = own_references(self.denoiser, batch, frames, text, how, windows)
            roles = replace(roles, references=in_roles(batch, own).references)
        captions = batch.each_target(batch.captions)
        level = sampling.noise_level
        return list(exercises(self.denoiser, roles, captions, level, practice.first, generators))

    def solution(self, exercise: Exercise, settings: SamplingSettings) -> tuple[Sampler, Denoise]:
        """See `Teachable`."""
        assert isinstance(settings, ARTVSampling)
        assert isinstance(exercise.conditions, Conditioned)
        frames, captions = exercise.conditions.frames, exercise.conditions.captions
        given = self.denoiser.encode((frames, self.encode_text(captions)))
        weights = settings.weights(not exercise.follows, self.denoiser.masking.use_anchor)

        def blank() -> Encoded:
            nothing = torch.zeros_like(frames.anchor)
            conditions = FrameConditions.blank(nothing, frames.noise_level)
            return self.denoiser.encode((conditions, self.encode_text(("",) * len(captions))))

        guided = GuidedDenoiser(self.denoiser, given, blank, weights, settings)
        return settings.solver(not exercise.follows), guided

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Tokens `[B, L, D]`; a caption that several targets share is encoded once."""
        rows = {caption: row for row, caption in enumerate(dict.fromkeys(captions))}
        tokens = self.text_encoder(list(rows))
        index = torch.tensor([rows[caption] for caption in captions])
        return tokens[to_device(index, tokens.device)]

    def _own_references(self, batch: VideoBatch, frames: Tensor, generators: Generators) -> Tensor:
        """The batch's latents, some replaced by what the system makes; see `own_references`."""
        options, sampling = self.training_options, self.sampling
        how = OwnFrames(
            options.own_references,
            options.own_reference_steps,
            sampling.noise_level,
            sampling.clip_latents,
        )
        text = self.encode_text(batch.captions)
        return own_references(self.denoiser, batch, frames, text, how, generators)

    # Generation

    def recorder(self) -> MaskRecorder:
        """Of the mask."""
        return MaskRecorder()

    def check(self, request: Request) -> None:
        """See `VideoSystem.check`."""
        super().check(request)
        settings, length = request.settings, len(self.denoiser.schedule)
        if not isinstance(settings, ARTVSampling):
            raise UserError(
                f"{type(settings).__name__} are no settings of ARTV: give ARTVSampling."
            )
        if settings.sampler not in SAMPLERS:
            known = " or ".join(SAMPLERS)
            raise UserError(f"Unknown sampler {settings.sampler!r}: choose {known}.")
        for steps in (settings.steps, settings.first_steps or 1):
            if not 1 <= steps <= length:
                raise UserError(f"{steps} steps: choose 1 to {length}.")
        most = self.denoiser.masking.max_noise_level
        if not 0 <= settings.noise_level <= most:
            raise UserError(
                f"Noise level {settings.noise_level} was not trained: choose 0 to {most}."
            )

    def frames(self, request: Request, observer: Observer | None = None) -> Iterator[Tensor]:
        """See `VideoSystem.frames` and `rollout.py`."""
        return rollout(self.denoiser, self.autoencoder, self.text_encoder, request, observer)
