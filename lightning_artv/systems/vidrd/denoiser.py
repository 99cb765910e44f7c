"""VidRD's denoiser: a U-Net over the frames of a clip (paper Sec. 4.1), and what it is shown.

It knows latents and tokens, neither pixels nor captions; training, rollout and pipelines share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lightning_artv.diffusion.prediction import x0_from_eps, x0_from_v
from lightning_artv.diffusion.schedule import NoiseSchedule
from lightning_artv.errors import UserError, check_number, check_whole
from lightning_artv.networks.clip_unet import ClipUNet
from lightning_artv.networks.temporal import Trained
from lightning_artv.networks.unet import UNetSource, start_loud
from lightning_artv.systems.base import Denoised, Denoiser

Prediction = Literal["epsilon", "v_prediction", "sample"]


@dataclass(frozen=True)
class ClipConditions:
    """What conditions a clip; constant over its denoising steps.

    Attributes:
        text: tokens `[B, L, D]`.
        given: bool `[B, N]`, which frames are clean and known; None for none.
        clean: latents `[B, N, C, h, w]`, of which the given frames are read; None for none.
    """

    text: Tensor
    given: Tensor | None = None
    clean: Tensor | None = None


class VidRDDenoiser(Denoiser[ClipConditions, ClipConditions]):
    """A U-Net over clips, and what its output means.

    Args:
        network: the U-Net.
        schedule: noise schedule that it is trained with.
        prediction_type: `epsilon` (the paper's), `v_prediction`, or the clean latents (`sample`).
        clip_frames: N, frames of the clips that it is trained on.
    """

    def __init__(
        self,
        network: ClipUNet,
        schedule: NoiseSchedule,
        prediction_type: Prediction = "epsilon",
        clip_frames: int = 8,
    ) -> None:
        super().__init__()
        check_whole("clip_frames", clip_frames, 1)
        if prediction_type not in get_args(Prediction):
            kinds = ", ".join(get_args(Prediction))
            raise UserError(f"prediction_type is {prediction_type!r}: choose one of {kinds}.")
        self.network, self.schedule = network, schedule
        self.prediction_type, self.clip_frames = prediction_type, clip_frames

    def blocks(self) -> list[nn.Module]:
        """The U-Net's."""
        return self.network.blocks()

    def shard_units(self) -> list[nn.Module]:
        """The U-Net."""
        return [self.network.unet]

    def encode(self, conditions: ClipConditions) -> ClipConditions:
        """There is nothing to compute once per clip."""
        return conditions

    def denoise(self, y_t: Tensor, t: Tensor, encoded: ClipConditions) -> Denoised:
        """The clean latents behind `y_t` `[B, N, C, h, w]` at steps `t` `[B]`.

        Given frames are shown clean, at step 0, and answered as they are.
        """
        steps = t[:, None].expand(y_t.shape[:2])
        given, clean = encoded.given, encoded.clean
        if given is not None and clean is not None:
            steps = steps.where(~given, torch.zeros_like(steps))
            y_t = y_t.where(~_wide(given), clean)
        output = self.network(y_t, steps, encoded.text)
        predicted = self._clean(y_t, output, steps)
        if given is not None and clean is not None:
            predicted = predicted.where(~_wide(given), clean)
        return Denoised(predicted)

    def _clean(self, y_t: Tensor, output: Tensor, steps: Tensor) -> Tensor:
        """The clean latents that an output stands for; steps `[B, N]`."""
        if self.prediction_type == "sample":
            return output.float()
        signal, noise = _wide(self.schedule.signal(steps)), _wide(self.schedule.noise(steps))
        x0_from = x0_from_eps if self.prediction_type == "epsilon" else x0_from_v
        return x0_from(y_t, output, signal, noise)


def _wide(per_frame: Tensor) -> Tensor:
    """`[B, N]` -> `[B, N, 1, 1, 1]`."""
    return per_frame[:, :, None, None, None]


@dataclass(frozen=True)
class DenoiserOptions:
    """A denoiser to build.

    Attributes:
        prediction_type: what the network predicts: `epsilon` (the paper's), `v_prediction`, or the
            clean latents (`sample`), which a network that is narrower than the noise can learn.
        clip_frames: N, frames per clip; `data.windows` makes clips of as many.
        schedule: `scaled_linear` (Stable Diffusion's), `linear` or `cosine`; 1000 steps.
        trained: `transformers` trains the layers over time and the spatial transformer blocks (the
            paper's), `temporal` only the former, `image` all but the former, `all` everything;
            None for the paper's where the image model is trained already, else all.
        dropout: of the convolutions over time (0.1 in the paper's code).

    Raises:
        UserError: a dropout that is none.
    """

    prediction_type: Prediction = "epsilon"
    clip_frames: int = 8
    schedule: Literal["scaled_linear", "linear", "cosine"] = "scaled_linear"
    trained: Trained | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_number("dropout", self.dropout, 0, 1)


def build_denoiser(
    unet: UNetSource, channels: int, text_width: int, options: DenoiserOptions
) -> VidRDDenoiser:
    """A denoiser as it starts training.

    Args:
        unet: where the image model comes from.
        channels: latent channels.
        text_width: width of the text tokens.
        options: the rest.

    Raises:
        UserError: a U-Net that reads tokens of another width, or random weights to be frozen.
    """
    trained = options.trained or ("transformers" if unet.trained else "all")
    if trained in ("transformers", "temporal") and not unet.trained:
        raise UserError(
            f"trained is {trained}, but the U-Net starts at random and would stay so: set trained "
            "to all, or give trained weights."
        )
    image_model = unet.build(channels)
    if image_model.config.cross_attention_dim != text_width:
        raise UserError(
            f"The text encoder makes tokens of width {text_width} but the U-Net reads "
            f"{image_model.config.cross_attention_dim}: set text_width or the encoder's width."
        )
    if not unet.trained:
        start_loud(image_model)
    network = ClipUNet.around(image_model, trained, options.dropout)
    schedule = getattr(NoiseSchedule, options.schedule)()
    return VidRDDenoiser(network, schedule, options.prediction_type, options.clip_frames)
