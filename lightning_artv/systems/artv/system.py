"""ART•V: the masked diffusion model, its loss and its generation (paper Sec. 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.loss import Weighting, loss_weights, noise_mse
from lightning_artv.diffusion.noise import rand, randint, randn
from lightning_artv.diffusion.prediction import eps_from_v, eps_from_x0
from lightning_artv.diffusion.schedule import NoiseSchedule, broadcast
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.networks.unet import ConditionedUNet, EncodedConditions, UNetSource
from lightning_artv.systems.artv.augmentation import augment, faults
from lightning_artv.systems.artv.masking import (
    StaticNoise,
    blend,
    mask_from_logits,
    static_noise,
)
from lightning_artv.systems.artv.own_references import own_references
from lightning_artv.systems.artv.references import (
    FrameConditions,
    without_anchor,
    without_references,
    without_text,
)
from lightning_artv.systems.base import (
    Generators,
    LossOutput,
    Observer,
    SamplingSettings,
    Segment,
    VideoSystem,
)

DEFAULT_SAMPLING = SamplingSettings()


@dataclass(frozen=True)
class NoisePrediction:
    """Eq. 7's left side and the mask that made it (None without a mask network)."""

    eps: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class Encoded:
    """What both networks read besides `y_t` and `t`; computed once per frame.

    Attributes:
        dynamic, mask: each network's own encoding; `mask` is None without a mask network.
        y_ref: clean latent of the previous frame `[B, C, h, w]`.
        has_reference: bool `[B]`.
    """

    dynamic: EncodedConditions
    mask: EncodedConditions | None
    y_ref: Tensor
    has_reference: Tensor


class ARTV(VideoSystem):
    """Auto-regressive text-to-video with masked diffusion.

    Args:
        unet: the dynamic-noise U-Net.
        autoencoder: pixels to latents.
        text_encoder: captions to tokens.
        static_noise: `posterior`, `residual`, `literal` (see `masking.static_noise`), or `none`:
            no mask network.
        mask_width: block widths of the mask U-Net as a share of the dynamic one's.
        mask_channels: `one` mask for all latent channels, or one for `all`.
        mask_bias: first bias of the mask's last convolution: the mask is closed there.
        max_noise_level: T_max of the noise augmentation (Sec. 3.3); 0 switches it off.
        condition_dropout: probability of dropping each of text, references and anchor (Sec. 4).
        first_frame_share: additional probability of dropping references and anchor together, so
            that the system learns to make its own first frames sooner than by chance (0 in the
            paper).
        use_anchor: False feeds a zero anchor, structure unchanged (the paper's ablation).
        anchor_patch: side of the anchor's patches, in latent pixels.
        prediction_type: what the dynamic U-Net's output means, turned into noise before Eq. 7:
            `epsilon` (Stable Diffusion 2.1-base), `v_prediction` (diffusers' name), or `residual`:
            the clean frame less its reference (Eq. 5), for networks that start from random weights.
        loss_weighting: `epsilon` is the paper's Eq. 4; see `diffusion.loss.loss_weights` for
            the others.
        unreferenced_weight: weight of the samples whose references are dropped (1 in the paper).
            Where the loss counts clean frames, a frame made from nothing is wrong by 50 times as
            much as one made from its predecessor, and drowns what there is to learn about motion.
        own_references: share of the training windows in which all targets but the first follow
            frames that the system made itself (`own_references.py`); needs
            `data.targets_per_window` of 2 or more. 0, the paper's, never.
        own_reference_steps: denoising steps of such a frame.
        reference_noise: largest standard deviation, in latents, of noise on the training
            references that are *copied* as well as seen (`augmentation.faults`), while the target
            stays clean: the system learns to mend what it copies. 0, the paper's, copies true
            frames in training, and a fault of a generated frame stays for ever.
        schedule: `scaled_linear` (Stable Diffusion's), `linear` or `cosine`; 1000 steps.
        sampling: defaults of generation.
    """

    def __init__(
        self,
        unet: UNetSource,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        static_noise: StaticNoise = "posterior",
        mask_width: float = 0.5,
        mask_channels: Literal["one", "all"] = "one",
        mask_bias: float = -4.0,
        max_noise_level: int = 550,
        condition_dropout: float = 0.1,
        first_frame_share: float = 0.0,
        use_anchor: bool = True,
        anchor_patch: int = 2,
        prediction_type: Literal["epsilon", "v_prediction", "residual"] = "epsilon",
        loss_weighting: Weighting = "epsilon",
        unreferenced_weight: float = 1.0,
        own_references: float = 0.0,
        own_reference_steps: int = 1,
        reference_noise: float = 0.0,
        schedule: Literal["scaled_linear", "linear", "cosine"] = "scaled_linear",
        sampling: SamplingSettings = DEFAULT_SAMPLING,
    ) -> None:
        super().__init__()
        self.schedule: NoiseSchedule = getattr(NoiseSchedule, schedule)()
        _check(static_noise, mask_channels, max_noise_level, len(self.schedule))
        if reference_noise < 0:
            raise UserError(f"reference_noise is {reference_noise}: choose 0 or more.")
        for share in (condition_dropout, first_frame_share, own_references):
            if not 0 <= share <= 1:
                raise UserError(f"A share of {share} is no probability: choose one in [0, 1].")
        self.autoencoder = autoencoder
        self.text_encoder = text_encoder
        channels = autoencoder.channels
        self.dynamic = ConditionedUNet(unet.build(channels), channels, anchor_patch, unet.trained)
        if self.dynamic.unet.config.cross_attention_dim != text_encoder.width:
            raise UserError(
                f"The text encoder makes tokens of width {text_encoder.width} but the U-Net reads "
                f"{self.dynamic.unet.config.cross_attention_dim}: set text_width or the "
                f"encoder's width."
            )
        self.mask: ConditionedUNet | None = None
        if static_noise != "none":
            out = 1 if mask_channels == "one" else channels
            self.mask = ConditionedUNet(
                unet.build_scaled(channels, out, mask_width), channels, anchor_patch
            )
            nn.init.constant_(self.mask.unet.conv_out.bias, mask_bias)
        self.static_noise, self.mask_bias = static_noise, mask_bias
        self.max_noise_level, self.condition_dropout = max_noise_level, condition_dropout
        self.first_frame_share, self.use_anchor = first_frame_share, use_anchor
        self.prediction_type, self.loss_weighting = prediction_type, loss_weighting
        self.unreferenced_weight = unreferenced_weight
        self.own_references, self.own_reference_steps = own_references, own_reference_steps
        self.reference_noise = reference_noise
        self._sampling = sampling

    @property
    def sampling(self) -> SamplingSettings:
        """The defaults of generation."""
        return self._sampling

    @property
    def size_multiple(self) -> int:
        """The autoencoder's factor; the U-Nets take any latent size."""
        return self.autoencoder.factor

    def shard_units(self) -> list[nn.Module]:
        """Blocks, U-Nets, adapters and anchor encoders; the text encoder where it is trained."""
        networks = [network for network in (self.dynamic, self.mask) if network is not None]
        units = [unit for network in networks for unit in network.shard_units()]
        text_is_trained = any(p.requires_grad for p in self.text_encoder.parameters())
        return [*units, self.text_encoder] if text_is_trained else units

    def pixels(self, frames: Tensor) -> Tensor:
        """A batch's frames `[M, ...]` as uint8 `[M, 3, H, W]`; stored latents are decoded."""
        if frames.dtype == torch.uint8:
            return frames
        return self.autoencoder.decode(self.autoencoder.restore(frames))

    # Training

    def loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        """Eq. 4 on the masked prediction of Eq. 7, both networks together."""
        y0, conditions, captions = self.prepare(batch, generators)
        t = randint(generators, 0, len(self.schedule), y0.device)
        eps = randn(generators, y0.shape[1:], y0.device)
        y_t = self.schedule.add_noise(y0, eps, t)
        prediction = self.predict_noise(y_t, t, self.encode(conditions, self.encode_text(captions)))
        weights = loss_weights(self.schedule, t, self.loss_weighting)
        weights = weights.where(conditions.has_reference, self.unreferenced_weight * weights)
        per_sample = weights * noise_mse(prediction.eps, eps)
        mask = prediction.mask
        return LossOutput(
            loss=per_sample.mean(),
            per_sample=per_sample.detach(),
            timesteps=t,
            mask_mean=None if mask is None else mask.detach().float().mean(dim=(1, 2, 3)),
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
        latents = batch.in_roles(frames)
        y0, references, anchor = latents[:, 0], latents[:, 1:3], latents[:, 3]
        if self.training and self.own_references:
            seen = own_references(self, batch, frames, windows)
            references = batch.in_roles(seen)[:, 1:3]
        if self.training and self.reference_noise:
            references = references + faults(references, self.reference_noise, generators)
        level = randint(generators, 0, self.max_noise_level + 1, y0.device)
        conditions = self.condition(references, anchor, level, generators)
        chance = rand(generators, (4,), y0.device)
        drop_references, drop_anchor, drop_text = (chance[:, :3] < self.condition_dropout).unbind(1)
        first = chance[:, 3] < self.first_frame_share
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

    # Prediction

    def condition(
        self, references: Tensor, anchor: Tensor, level: Tensor, generators: Generators
    ) -> FrameConditions:
        """Augment references `[B, 2, C, h, w]` and anchor at `level` `[B]`; y_ref stays clean."""
        frames = torch.cat([references, anchor[:, None]], dim=1)
        noise = randn(generators, frames.shape[1:], frames.device)
        noised = augment(self.schedule, frames, noise, level)
        noised_anchor = noised[:, 2] if self.use_anchor else torch.zeros_like(anchor)
        everywhere = torch.ones(len(level), dtype=torch.bool, device=level.device)
        return FrameConditions(noised[:, :2], noised_anchor, level, references[:, 0], everywhere)

    def encode(self, conditions: FrameConditions, text: Tensor) -> Encoded:
        """Run the adapters and anchor encoders of both networks, once per frame."""
        inputs = (conditions.references, conditions.anchor, text, conditions.noise_level)
        mask = None if self.mask is None else self.mask.encode(*inputs)
        return Encoded(
            self.dynamic.encode(*inputs), mask, conditions.y_ref, conditions.has_reference
        )

    def predict_noise(self, y_t: Tensor, t: Tensor, encoded: Encoded) -> NoisePrediction:
        """Eq. 7 for `y_t` `[B, C, h, w]` at steps `t` `[B]`."""
        signal = broadcast(self.schedule.signal(t), y_t)
        noise = broadcast(self.schedule.noise(t), y_t)
        eps_dynamic = self.dynamic(y_t, t, encoded.dynamic)
        if self.prediction_type == "v_prediction":
            eps_dynamic = eps_from_v(y_t, eps_dynamic, signal, noise)
        elif self.prediction_type == "residual":
            known = encoded.y_ref * broadcast(encoded.has_reference, y_t)
            eps_dynamic = eps_from_x0(y_t, known + eps_dynamic, signal, noise)
        if self.mask is None or encoded.mask is None:
            return NoisePrediction(eps_dynamic, None)
        mask = mask_from_logits(self.mask(y_t, t, encoded.mask), self.mask_bias)
        mask = mask * broadcast(encoded.has_reference, mask)
        eps_static = static_noise(self.static_noise, y_t, encoded.y_ref, signal, noise)
        return NoisePrediction(blend(mask, eps_static, eps_dynamic), mask)

    # Generation

    def generate(
        self,
        segments: Sequence[Segment],
        generators: Generators,
        size: tuple[int, int],
        first_frame: Tensor | None = None,
        settings: SamplingSettings | None = None,
        observer: Observer | None = None,
    ) -> Iterator[Tensor]:
        """Yield frames as they are made; see `VideoSystem.generate` and `rollout.py`."""
        from lightning_artv.systems.artv.rollout import rollout

        return rollout(
            self, segments, generators, size, first_frame, settings or self.sampling, observer
        )


def _check(form: str, mask_channels: str, max_level: int, steps: int) -> None:
    if form not in ("posterior", "residual", "literal", "none"):
        raise UserError(f"static_noise is {form!r}: choose posterior, residual, literal or none.")
    if mask_channels not in ("one", "all"):
        raise UserError(f"mask_channels is {mask_channels!r}: choose one or all.")
    if not 0 <= max_level <= steps:
        raise UserError(f"max_noise_level is {max_level}: choose a level in [0, {steps}].")
