"""ART•V's denoiser: both networks and the masked prediction they make (paper Sec. 3.2-3.4, Eq. 7).

It knows latents and tokens, neither pixels nor captions; training, rollout and pipelines share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_artv.diffusion.augment import augment
from lightning_artv.diffusion.noise import Generators, randn
from lightning_artv.diffusion.prediction import x0_from_eps, x0_from_v
from lightning_artv.diffusion.schedule import NoiseSchedule, broadcast
from lightning_artv.errors import UserError
from lightning_artv.systems.artv.masking import (
    StaticNoise,
    blend,
    mask_from_logits,
    static_clean,
)
from lightning_artv.systems.artv.networks.shallow import DeepBlocks
from lightning_artv.systems.artv.networks.tokens import Tokens
from lightning_artv.systems.artv.networks.unet import ConditionedUNet, EncodedConditions
from lightning_artv.systems.artv.references import FrameConditions
from lightning_artv.systems.base import Denoised, Denoiser

Prediction = Literal["epsilon", "v_prediction", "residual"]
FORMS = ("posterior", "residual", "literal", "none")


@dataclass(frozen=True)
class Masking:
    """How the networks' outputs become one prediction, and what they are shown.

    Attributes:
        static_noise: see `masking.static_noise`; `none` without a mask network.
        mask_bias: first bias of the mask's last convolution: the mask is closed there.
        prediction_type: what the dynamic U-Net's output means, see `ARTV`.
        max_noise_level: T_max of the noise augmentation (Sec. 3.3); 0 switches it off.
        use_anchor: False feeds a zero anchor, structure unchanged (the paper's ablation).

    Raises:
        UserError: no such form of the static noise.
    """

    static_noise: StaticNoise = "posterior"
    mask_bias: float = -4.0
    prediction_type: Prediction = "epsilon"
    max_noise_level: int = 550
    use_anchor: bool = True

    def __post_init__(self) -> None:
        if self.static_noise not in FORMS:
            raise UserError(
                f"static_noise is {self.static_noise!r}: choose posterior, residual, literal or "
                "none."
            )


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

    @classmethod
    def joined(cls, parts: Sequence[Encoded]) -> Encoded:
        """The rows of several, one below the other."""
        masks = [part.mask for part in parts if part.mask is not None]
        return cls(
            EncodedConditions.joined([part.dynamic for part in parts]),
            EncodedConditions.joined(masks) if masks else None,
            torch.cat([part.y_ref for part in parts]),
            torch.cat([part.has_reference for part in parts]),
        )

    def without(self, condition: str, blank: Encoded) -> Encoded:
        """The same with `references`, `anchor` or `text` as they are in `blank`."""
        field = _ENCODED[condition]
        dynamic = replace(self.dynamic, **{field: getattr(blank.dynamic, field)})
        mask = self.mask
        if mask is not None:
            mask = replace(mask, **{field: getattr(blank.mask, field)})
        known = blank.has_reference if condition == "references" else self.has_reference
        return Encoded(dynamic, mask, self.y_ref, known)


_ENCODED = {"references": "features", "anchor": "anchor", "text": "text"}
"""Condition -> what of `EncodedConditions` it is."""


@dataclass(frozen=True)
class Masked(Denoised):
    """What ART•V's denoiser answers.

    Attributes:
        mask: `[B, 1 or C, h, w]` in [0, 1]; None without a mask network.
    """

    mask: Tensor | None = None


class ARTVDenoiser(Denoiser[tuple[FrameConditions, Tensor | Tokens], Encoded]):
    """The dynamic-noise network, the mask network and what turns them into one prediction.

    Args:
        dynamic: network of the dynamic noise.
        mask: mask network; None without one.
        schedule: noise schedule that both are trained with.
        masking: how their outputs are combined.

    Raises:
        UserError: a noise level beyond the schedule, a mask network without a static noise, or a
            static noise without a mask network.
    """

    def __init__(
        self,
        dynamic: ConditionedUNet,
        mask: ConditionedUNet | None,
        schedule: NoiseSchedule,
        masking: Masking,
    ) -> None:
        super().__init__()
        if not 0 <= masking.max_noise_level <= len(schedule):
            raise UserError(
                f"max_noise_level is {masking.max_noise_level}: choose a level in "
                f"[0, {len(schedule)}]."
            )
        if (mask is None) != (masking.static_noise == "none"):
            raise UserError("A mask network and a static noise go together; without: none.")
        self.dynamic, self.mask = dynamic, mask
        self.schedule, self.masking = schedule, masking

    def blocks(self) -> list[nn.Module]:
        """Blocks of both U-Nets."""
        return [block for network in self._networks() for block in network.blocks()]

    def shard_units(self) -> list[nn.Module]:
        """U-Nets, adapters and anchor encoders."""
        return [unit for network in self._networks() for unit in network.shard_units()]

    def condition(
        self, references: Tensor, anchor: Tensor, level: Tensor, generators: Generators
    ) -> FrameConditions:
        """Augment references `[B, 2, C, h, w]` and anchor at `level` `[B]`; y_ref stays clean."""
        frames = torch.cat([references, anchor[:, None]], dim=1)
        noise = randn(generators, frames.shape[1:], frames.device)
        noised = augment(self.schedule, frames, noise, level)
        noised_anchor = noised[:, 2] if self.masking.use_anchor else torch.zeros_like(anchor)
        everywhere = torch.ones(len(level), dtype=torch.bool, device=level.device)
        return FrameConditions(noised[:, :2], noised_anchor, level, references[:, 0], everywhere)

    def encode(self, conditions: tuple[FrameConditions, Tensor | Tokens]) -> Encoded:
        """Run the adapters and anchor encoders of both networks, once per frame.

        Args:
            conditions: what conditions the frame, and its text tokens `[B, L, D]`; frames that are
                given the same `Tokens` make keys and values of them once.
        """
        frames, text = conditions
        inputs = (frames.references, frames.anchor, text, frames.noise_level)
        mask = None if self.mask is None else self.mask.encode(*inputs)
        return Encoded(self.dynamic.encode(*inputs), mask, frames.y_ref, frames.has_reference)

    def denoise(self, y_t: Tensor, t: Tensor, encoded: Encoded, deep: DeepBlocks = "run") -> Masked:
        """Eq. 7 for `y_t` `[B, C, h, w]` at steps `t` `[B]`, as clean latents.

        Its two sides are noises; at one `y_t` the clean latents that they imply blend alike.

        Args:
            deep: whether the U-Nets run their deep blocks; see `ConditionedUNet.forward`.
        """
        signal = broadcast(self.schedule.signal(t), y_t)
        noise = broadcast(self.schedule.noise(t), y_t)
        dynamic = self.dynamic(y_t, t, encoded.dynamic, deep)
        if self.masking.prediction_type == "epsilon":
            dynamic = x0_from_eps(y_t, dynamic, signal, noise)
        elif self.masking.prediction_type == "v_prediction":
            dynamic = x0_from_v(y_t, dynamic, signal, noise)
        else:
            dynamic = encoded.y_ref * broadcast(encoded.has_reference, y_t) + dynamic
        if self.mask is None or encoded.mask is None:
            return Masked(dynamic)
        logits = self.mask(y_t, t, encoded.mask, deep)
        mask = mask_from_logits(logits, self.masking.mask_bias)
        mask = mask * broadcast(encoded.has_reference, mask)
        static = static_clean(self.masking.static_noise, y_t, encoded.y_ref, signal, noise)
        return Masked(blend(mask, static, dynamic), mask)

    def _networks(self) -> list[ConditionedUNet]:
        return [network for network in (self.dynamic, self.mask) if network is not None]
