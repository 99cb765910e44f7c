"""The refiner of temporal super-resolution: an image model that is shown the warped frame (paper
Sec. 3.3), each frame alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from lightning_artv.diffusion.loss import Weighting, clean_error, loss_weights
from lightning_artv.diffusion.noise import Generators, randint, randn
from lightning_artv.diffusion.plan import Spacing
from lightning_artv.diffusion.prediction import x0_from_eps, x0_from_v
from lightning_artv.diffusion.samplers import Sampler
from lightning_artv.diffusion.schedule import NoiseSchedule, broadcast
from lightning_artv.errors import UserError, check_number, check_whole
from lightning_artv.networks.unet import UNetSource, start_loud, widen_input
from lightning_artv.systems.videogen.interpolation import Combine

Prediction = Literal["epsilon", "v_prediction", "residual"]
_WEIGHTING: dict[str, Weighting] = {
    "epsilon": "epsilon",
    "v_prediction": "v",
    "residual": "sample",
}


@dataclass(frozen=True)
class RefinerOptions:
    """A refiner to build.

    Attributes:
        prediction_type: what the network predicts: `epsilon` (the paper's), `v_prediction`, or what
            is to be added to the warped frame (`residual`), which a small model with random weights
            starts as and can only improve.
        schedule: `scaled_linear` (Stable Diffusion's), `linear` or `cosine`; 1000 steps.

    Raises:
        UserError: another prediction.
    """

    prediction_type: Prediction = "epsilon"
    schedule: Literal["scaled_linear", "linear", "cosine"] = "scaled_linear"

    def __post_init__(self) -> None:
        if self.prediction_type not in _WEIGHTING:
            known = ", ".join(_WEIGHTING)
            raise UserError(f"prediction_type is {self.prediction_type!r}: choose of {known}.")


@dataclass(frozen=True)
class TSRSampling:
    """How frames are made between others.

    Attributes:
        steps: denoising steps per frame; 0 leaves the refiner out.
        spacing: how timesteps are chosen: `leading` (Stable Diffusion's), `trailing` or `linspace`.
        band: N; what is coarser than N latent pixels comes from the warped frame, the rest from the
            refiner.
        combine: when that is done: at the `end` (as the paper reads) or after `every_step` (ILVR,
            which it cites).
        clip_latents: clamp the predicted clean latent to [-clip, clip]; only sensible where latents
            are pixels.
        set_alpha_to_one: whether the last step removes all noise; None for what Stable Diffusion's
            DDIM does (no).
        batch: frames made at once (bounds memory).

    Raises:
        UserError: a value that is none.
    """

    steps: int = 20
    spacing: Spacing = "leading"
    band: int = 4
    combine: Combine = "end"
    clip_latents: float | None = None
    set_alpha_to_one: bool | None = None
    batch: int = 16

    def __post_init__(self) -> None:
        check_whole("steps of the refiner", self.steps, 0)
        check_whole("band", self.band, 1)
        check_whole("batch of frames", self.batch, 1)
        if self.clip_latents is not None:
            check_number("The clamp of the latents", self.clip_latents, 1e-6)
        if self.combine not in ("end", "every_step"):
            raise UserError(f"combine is {self.combine!r}: choose end or every_step.")

    def solver(self) -> Sampler:
        """The sampler of a frame."""
        return Sampler(
            self.steps, "ddim", self.spacing, self.set_alpha_to_one, clip=self.clip_latents
        )


class Refiner(nn.Module):
    """A U-Net that reads `concat[z_t, warped]`, and what its output means.

    Args:
        unet: U-Net with twice the latents' channels in.
        schedule: noise schedule that it is trained with.
        prediction_type: see `RefinerOptions`.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        schedule: NoiseSchedule,
        prediction_type: Prediction = "epsilon",
    ) -> None:
        super().__init__()
        self.unet, self.schedule, self.prediction_type = unet, schedule, prediction_type

    @classmethod
    def build(
        cls, unet: UNetSource, channels: int, text_width: int | None, options: RefinerOptions
    ) -> Refiner:
        """A refiner as it starts training: a trained image model is itself still.

        Args:
            unet: where the image model comes from.
            channels: latent channels.
            text_width: width of the text tokens; None for the U-Net's own.
            options: the rest.

        Raises:
            UserError: a U-Net that reads tokens of another width.
        """
        network = unet.build(channels)
        if text_width not in (None, network.config.cross_attention_dim):
            raise UserError(
                f"The text encoder makes tokens of width {text_width} but the U-Net reads "
                f"{network.config.cross_attention_dim}: set text_width or the encoder's width."
            )
        widen_input(network, channels, silent=unet.trained)
        if not unet.trained:
            start_loud(network)
        schedule = getattr(NoiseSchedule, options.schedule)()
        return cls(network, schedule, options.prediction_type)

    def blocks(self) -> list[nn.Module]:
        """The U-Net's blocks, in the order of its `forward`."""
        return [*self.unet.down_blocks, self.unet.mid_block, *self.unet.up_blocks]

    def clean(self, z_t: Tensor, t: Tensor, warped: Tensor, text: Tensor) -> Tensor:
        """The clean latents behind `z_t` `[N, C, h, w]`.

        Args:
            z_t: noisy latents.
            t: int64 `[N]`.
            warped: latents of the warped frames, of the shape of `z_t`.
            text: tokens of no text `[1, L, D]`.
        """
        output = self.unet(
            torch.cat([z_t, warped], dim=1),
            t,
            encoder_hidden_states=text.expand(len(z_t), -1, -1),
            return_dict=False,
        )[0].float()
        if self.prediction_type == "residual":
            return warped + output
        signal, noise = (
            broadcast(c, z_t) for c in (self.schedule.signal(t), self.schedule.noise(t))
        )
        x0_from = x0_from_eps if self.prediction_type == "epsilon" else x0_from_v
        return x0_from(z_t, output, signal, noise)

    def loss(
        self, true: Tensor, warped: Tensor, text: Tensor, generators: Generators
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Error of each frame `[N]` as it is trained on, its plain squared error, and its noise's
        level in [0, 1].
        """
        t = randint(generators, 0, len(self.schedule), true.device)
        eps = randn(generators, true.shape[1:], true.device)
        clean = self.clean(self.schedule.add_noise(true, eps, t), t, warped, text)
        error = clean_error(clean, true)
        weights = loss_weights(self.schedule, t, _WEIGHTING[self.prediction_type])
        return weights * error, error.detach(), t / len(self.schedule)
