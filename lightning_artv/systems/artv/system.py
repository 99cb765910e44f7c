"""ART•V: the masked diffusion model, its loss and its generation (paper Sec. 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.loss import Weighting, clean_mse, loss_weights
from lightning_artv.diffusion.noise import Generators, rand, randint, randn
from lightning_artv.diffusion.samplers import SAMPLERS
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.networks.unet import UNetSource
from lightning_artv.systems.artv.augmentation import faults
from lightning_artv.systems.artv.build import DenoiserOptions, build_denoiser
from lightning_artv.systems.artv.denoiser import ARTVDenoiser
from lightning_artv.systems.artv.earlier import WEIGHTS
from lightning_artv.systems.artv.figures import MaskRecorder
from lightning_artv.systems.artv.own_references import OwnFrames, own_references
from lightning_artv.systems.artv.references import (
    FrameConditions,
    without_anchor,
    without_references,
    without_text,
)
from lightning_artv.systems.artv.rollout import rollout
from lightning_artv.systems.artv.settings import ARTVSampling
from lightning_artv.systems.artv.windows import NextFrame, in_roles
from lightning_artv.systems.base import (
    LossOutput,
    Observer,
    Request,
    SamplingSettings,
    Segment,
    VideoSystem,
)


@dataclass(frozen=True)
class ARTVTraining:
    """How the loss is made of a batch; of no matter to generation.

    Attributes:
        condition_dropout: probability of dropping each of text, references and anchor (Sec. 4).
        first_frame_share: additional probability of dropping references and anchor together, so
            that the system learns to make its own first frames sooner than by chance (0 in the
            paper).
        loss_weighting: `epsilon` is the paper's Eq. 4; see `diffusion.loss.loss_weights` for
            the others.
        unreferenced_weight: weight of the samples whose references are dropped (1 in the paper).
            Where the loss counts clean frames, a frame made from nothing is wrong by 50 times as
            much as one made from its predecessor, and drowns what there is to learn about motion.
        own_references: share of the training windows in which all targets but the first follow
            frames that the system made itself (`own_references.py`); needs
            windows of 2 targets or more (`NextFrame.targets`). 0, the paper's, never.
        own_reference_steps: denoising steps per such frame.
        reference_noise: largest standard deviation, in latents, of noise on the training
            references that are *copied* as well as seen (`augmentation.faults`), while the target
            stays clean: the system learns to mend what it copies. 0, the paper's, copies true
            frames in training, and a fault of a generated frame stays for ever.

    Raises:
        UserError: a share outside [0, 1], or a negative noise.
    """

    condition_dropout: float = 0.1
    first_frame_share: float = 0.0
    loss_weighting: Weighting = "epsilon"
    unreferenced_weight: float = 1.0
    own_references: float = 0.0
    own_reference_steps: int = 1
    reference_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.reference_noise < 0:
            raise UserError(f"reference_noise is {self.reference_noise}: choose 0 or more.")
        for share in (self.condition_dropout, self.first_frame_share, self.own_references):
            if not 0 <= share <= 1:
                raise UserError(f"A share of {share} is no probability: choose one in [0, 1].")


DENOISER, TRAINING, SAMPLING = DenoiserOptions(), ARTVTraining(), ARTVSampling()


class ARTV(VideoSystem):
    """Auto-regressive text-to-video with masked diffusion.

    Args:
        denoiser: both networks.
        autoencoder: pixels to latents.
        text_encoder: captions to tokens.
        training: how the loss is made.
        sampling: defaults of generation.
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
        super().__init__()
        self.autoencoder = autoencoder
        self.text_encoder = text_encoder
        self.denoiser = denoiser
        self.training_options = training
        self._sampling = sampling

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

    @property
    def sampling(self) -> ARTVSampling:
        """The defaults of generation."""
        return self._sampling

    @property
    def size_multiple(self) -> int:
        """The autoencoder's factor; the U-Nets take any latent size."""
        return self.autoencoder.factor

    def blocks(self) -> list[nn.Module]:
        """The denoiser's."""
        return self.denoiser.blocks()

    def shard_units(self) -> list[nn.Module]:
        """The denoiser's, and the text encoder where it is trained."""
        units = self.denoiser.shard_units()
        text_is_trained = any(p.requires_grad for p in self.text_encoder.parameters())
        return [*units, self.text_encoder] if text_is_trained else units

    def pixels(self, frames: Tensor) -> Tensor:
        """A batch's frames `[M, ...]` as uint8 `[M, 3, H, W]`; stored latents are decoded."""
        if frames.dtype == torch.uint8:
            return frames
        return self.autoencoder.decode(self.autoencoder.restore(frames))

    def given(self, batch: VideoBatch) -> Tensor:
        """The anchor frames."""
        return self.pixels(in_roles(batch).anchor)

    # Training

    def loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        """Eq. 4 on the masked prediction of Eq. 7, both networks together."""
        y0, conditions, captions = self.prepare(batch, generators)
        schedule, options = self.denoiser.schedule, self.training_options
        t = randint(generators, 0, len(schedule), y0.device)
        eps = randn(generators, y0.shape[1:], y0.device)
        encoded = self.denoiser.encode((conditions, self.encode_text(captions)))
        denoised = self.denoiser.denoise(schedule.add_noise(y0, eps, t), t, encoded)
        weights = loss_weights(schedule, t, options.loss_weighting)
        weights = weights.where(conditions.has_reference, options.unreferenced_weight * weights)
        per_sample = weights * clean_mse(denoised.clean, y0)
        mask = denoised.mask
        return LossOutput(
            loss=per_sample.mean(),
            per_sample=per_sample.detach(),
            level=t / len(schedule),
            scalars={} if mask is None else {"mask": mask.detach().float().mean(dim=(1, 2, 3))},
        )

    def prepare(
        self, batch: VideoBatch, generators: Generators
    ) -> tuple[Tensor, FrameConditions, tuple[str, ...]]:
        """Target latents, augmented conditions and captions, some dropped (Sec. 3.3, 4).

        Args:
            generators: one a target; the first of each window also draws its frames' latents.
        """
        windows = generators[:: batch.targets_per_window]
        frames = self.encode_frames(batch.frames, windows)
        latents, options = in_roles(batch, frames), self.training_options
        y0, references, anchor = latents.target, latents.references, latents.anchor
        if self.training and options.own_references:
            references = in_roles(batch, self._own_references(batch, frames, windows)).references
        if self.training and options.reference_noise:
            references = references + faults(references, options.reference_noise, generators)
        level = randint(generators, 0, self.denoiser.masking.max_noise_level + 1, y0.device)
        conditions = self.denoiser.condition(references, anchor, level, generators)
        chance = rand(generators, (4,), y0.device)
        drop_references, drop_anchor, drop_text = (
            chance[:, :3] < options.condition_dropout
        ).unbind(1)
        first = chance[:, 3] < options.first_frame_share
        conditions = without_anchor(conditions, drop_anchor | first)
        conditions = without_references(conditions, drop_references | first)
        return y0, conditions, without_text(batch.each_target(batch.captions), drop_text)

    def encode_frames(self, frames: Tensor, generators: Generators) -> Tensor:
        """A batch's frames `[N, F, ...]`, pixels or stored moments, to a sample of their latents
        `[N, F, C, h, w]`; one generator a window.
        """
        n, f, _, height, width = frames.shape
        factor = self.autoencoder.factor if frames.dtype == torch.uint8 else 1
        shape = (f, self.autoencoder.channels, height // factor, width // factor)
        noise = randn(generators, shape, frames.device).flatten(0, 1)
        encoder = self.autoencoder
        encode = encoder.encode if frames.dtype == torch.uint8 else encoder.restore
        return encode(frames.flatten(0, 1), noise).unflatten(0, (n, f))

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Tokens `[B, L, D]`; a caption that several targets share is encoded once."""
        rows = {caption: row for row, caption in enumerate(dict.fromkeys(captions))}
        tokens = self.text_encoder(list(rows))
        return tokens[[rows[caption] for caption in captions]]

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

    def generate(
        self,
        segments: Sequence[Segment],
        generators: Generators,
        size: tuple[int, int],
        first_frame: Tensor | None = None,
        settings: SamplingSettings | None = None,
        observer: Observer | None = None,
    ) -> Iterator[Tensor]:
        """Yield frames as they are made; see `VideoSystem.generate` and `rollout.py`.

        Raises:
            UserError: settings of another system, or a request that cannot be served.
        """
        settings = self.sampling if settings is None else settings
        request = Request(tuple(segments), tuple(generators), size, first_frame, settings)
        self.check(request)
        return rollout(self.denoiser, self.autoencoder, self.text_encoder, request, observer)
