"""VidRD's denoiser: a U-Net over the frames of a clip (paper Sec. 4.1), and what it is shown.

It knows latents and tokens, neither pixels nor captions; training, rollout and pipelines share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_artv.diffusion.schedule import NoiseSchedule
from lightning_artv.errors import UserError, check_number
from lightning_artv.networks.clip_unet import ClipUNet
from lightning_artv.networks.temporal import Trained
from lightning_artv.networks.unet import UNetSource, check_tokens, start_loud
from lightning_artv.systems.base import Denoised
from lightning_artv.systems.clips import ClipDenoiser

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


class VidRDDenoiser(ClipDenoiser[ClipConditions]):
    """A U-Net over clips, and what its output means.

    Args:
        network: the U-Net.
        schedule: noise schedule that it is trained with.
        prediction_type: `epsilon` (the paper's), `v_prediction`, or the clean latents (`sample`).
        clip_frames: N, frames of the clips that it is trained on.
    """

    predictions = get_args(Prediction)

    def __init__(
        self,
        network: ClipUNet,
        schedule: NoiseSchedule,
        prediction_type: Prediction = "epsilon",
        clip_frames: int = 8,
    ) -> None:
        super().__init__(network, schedule, prediction_type, clip_frames)

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
        signal, noise = _wide(self.schedule.signal(steps)), _wide(self.schedule.noise(steps))
        predicted = self.clean(y_t, output, signal, noise)
        if given is not None and clean is not None:
            predicted = predicted.where(~_wide(given), clean)
        return Denoised(predicted)


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
        dropout: dropout probability of the convolutions over time (0.1 in the paper's code).

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
    check_tokens(image_model, text_width)
    if not unet.trained:
        start_loud(image_model)
    network = ClipUNet.around(image_model, trained, options.dropout)
    schedule = getattr(NoiseSchedule, options.schedule)()
    return VidRDDenoiser(network, schedule, options.prediction_type, options.clip_frames)
