"""The contract of a system's networks: what samplers, guidance, distillation and pipelines need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor, nn

from lightning_artv.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class Denoised:
    """What a denoiser answers; a system may add to it.

    Attributes:
        clean: predicted clean latents `[B, ...]`.
    """

    clean: Tensor


Conditions = TypeVar("Conditions")
EncodedConditions = TypeVar("EncodedConditions")


class Denoiser(nn.Module, ABC, Generic[Conditions, EncodedConditions]):
    """Networks and what turns their outputs into one prediction, in latents and tokens.

    Attributes:
        schedule: noise schedule that the networks are trained with.
    """

    schedule: NoiseSchedule

    @abstractmethod
    def encode(self, conditions: Conditions) -> EncodedConditions:
        """What no denoising step changes; computed once per frame or clip."""

    @abstractmethod
    def denoise(self, y_t: Tensor, t: Tensor, encoded: EncodedConditions) -> Denoised:
        """The clean latents behind `y_t` `[B, ...]` at steps `t` `[B]`."""

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """See `Trainable.blocks`."""

    def shard_units(self) -> list[nn.Module]:
        """See `Trainable.shard_units`."""
        return [self]
