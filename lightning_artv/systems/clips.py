"""What systems over clips share: a denoiser that is one U-Net over frames, and its guidance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from lightning_artv.diffusion.guidance import branches, combine
from lightning_artv.diffusion.prediction import x0_from_eps, x0_from_v
from lightning_artv.diffusion.samplers import Denoise
from lightning_artv.diffusion.schedule import NoiseSchedule
from lightning_artv.errors import UserError, check_whole
from lightning_artv.networks.clip_unet import ClipUNet
from lightning_artv.systems.denoiser import Denoiser

ConditionsT = TypeVar("ConditionsT")


class ClipDenoiser(Denoiser[ConditionsT, ConditionsT]):
    """A U-Net over clips, and what its output means; nothing is computed once per clip.

    Args:
        network: the U-Net.
        schedule: noise schedule that it is trained with.
        prediction_type: one of `predictions`.
        clip_frames: frames of the clips that it is trained on.

    Raises:
        UserError: another prediction, or no number of frames.
    """

    predictions: ClassVar[tuple[str, ...]] = ("epsilon", "v_prediction")

    def __init__(
        self, network: ClipUNet, schedule: NoiseSchedule, prediction_type: str, clip_frames: int
    ) -> None:
        super().__init__()
        check_whole("clip_frames", clip_frames, 1)
        if prediction_type not in self.predictions:
            *most, last = self.predictions
            raise UserError(
                f"prediction_type is {prediction_type!r}: choose {', '.join(most)} or {last}."
            )
        self.network, self.schedule = network, schedule
        self.prediction_type, self.clip_frames = prediction_type, clip_frames

    def blocks(self) -> list[nn.Module]:
        """The U-Net's."""
        return self.network.blocks()

    def shard_units(self) -> list[nn.Module]:
        """The U-Net."""
        return [self.network.unet]

    def encode(self, conditions: ConditionsT) -> ConditionsT:
        """There is nothing to compute once per clip."""
        return conditions

    def clean(self, y_t: Tensor, output: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
        """The clean latents that the network's output stands for; see `diffusion.prediction`."""
        if self.prediction_type == "sample":
            return output.float()
        x0_from = x0_from_eps if self.prediction_type == "epsilon" else x0_from_v
        return x0_from(y_t, output, signal, noise)


def guided(
    denoiser: ClipDenoiser[ConditionsT], stacked: ConditionsT, weights: Mapping[str, float]
) -> Denoise:
    """The denoiser under guidance: all branches in one batched call.

    Args:
        denoiser: denoiser of clips.
        stacked: conditions of all `branches(weights)`, one branch after the other.
        weights: name of a condition -> weight.
    """
    count, encoded = len(branches(weights)), denoiser.encode(stacked)

    def denoise(y_t: Tensor, t: int) -> Tensor:
        repeated = torch.cat([y_t] * count)
        timesteps = torch.full((len(repeated),), t, device=y_t.device)
        return combine(denoiser.denoise(repeated, timesteps, encoded).clean, weights)

    return denoise
