"""A stage's denoiser: a U-Net over the frames of a clip (paper Sec. 3.2), and what it is shown.

It knows latents and tokens, neither pixels nor captions; training, generation and pipelines share
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import TimestepEmbedding, get_timestep_embedding
from torch import Tensor, nn

from lightning_artv.diffusion.schedule import NoiseSchedule, broadcast
from lightning_artv.errors import UserError
from lightning_artv.networks.clip_unet import ClipUNet
from lightning_artv.networks.temporal import TemporalAttention, TemporalKernel, installed_layers
from lightning_artv.networks.unet import UNetSource, check_tokens, start_loud, widen_input
from lightning_artv.systems.base import Denoised
from lightning_artv.systems.clips import ClipDenoiser
from lightning_artv.systems.videogen.cascade import in_all_frames, in_first_frame

Prediction = Literal["epsilon", "v_prediction", "residual"]
Shown = Literal["first", "all"]


@dataclass(frozen=True)
class StageConditions:
    """What conditions a clip; constant over its denoising steps.

    Attributes:
        text: tokens `[B, L, D]`.
        fps: frames per second, float32 `[B]`.
        reference: latents of the reference picture `[B, C, h, w]`; zeros for none.
        lower: U, the doubled stage before `[B, T, C, h, w]`, perhaps noised; None in the base.
        level: level of its noise, int64 `[B]`; None in the base.
    """

    text: Tensor
    fps: Tensor
    reference: Tensor
    lower: Tensor | None = None
    level: Tensor | None = None


class StageDenoiser(ClipDenoiser[StageConditions]):
    """A U-Net over clips that reads `concat[z_t, R, U]`, and what its output means.

    Args:
        network: the U-Net.
        schedule: noise schedule that it is trained with.
        prediction_type: `epsilon` (the paper's), `v_prediction`, or what is to be added to U, in
            the base to the reference, for the clean frame (`residual`).
        clip_frames: T, frames of the clips that it is trained on.
        reference: which frames' channels hold the reference: the `first` (the paper's) or `all`.
        tells_frame: whether each frame is told its number, as it is told the frame rate (ours).
    """

    predictions = ("epsilon", "v_prediction", "residual")

    def __init__(
        self,
        network: ClipUNet,
        schedule: NoiseSchedule,
        prediction_type: Prediction = "epsilon",
        clip_frames: int = 16,
        reference: Shown = "first",
        tells_frame: bool = False,
    ) -> None:
        super().__init__(network, schedule, prediction_type, clip_frames)
        if reference not in ("first", "all"):
            raise UserError(f"reference is {reference!r}: choose first or all.")
        self.reference, self.tells_frame = reference, tells_frame

    def denoise(self, y_t: Tensor, t: Tensor, encoded: StageConditions) -> Denoised:
        """The clean latents behind `y_t` `[B, T, C, h, w]` at steps `t` `[B]`."""
        output = self.network(
            torch.cat(self._read(y_t, encoded), dim=2),
            t[:, None].expand(y_t.shape[:2]),
            encoded.text,
            self._numbers(encoded, y_t.shape[1]),
        ).float()
        if self.prediction_type == "residual":
            base = encoded.reference[:, None] if encoded.lower is None else encoded.lower
            return Denoised(base + output)
        signal = broadcast(self.schedule.signal(t), y_t)
        noise = broadcast(self.schedule.noise(t), y_t)
        return Denoised(self.clean(y_t, output, signal, noise))

    def _read(self, y_t: Tensor, encoded: StageConditions) -> list[Tensor]:
        """`z_t`, R and, above the base, U."""
        place = in_first_frame if self.reference == "first" else in_all_frames
        shown = place(encoded.reference, y_t.shape[1])
        return [y_t, shown, *([] if encoded.lower is None else [encoded.lower])]

    def _numbers(self, encoded: StageConditions, frames: int) -> Tensor:
        """The frame rate, perhaps each frame's number, and, above the base, the level of noise,
        embedded as timesteps are, `[B, T, D]`.
        """
        width = self.network.unet.time_embedding.linear_1.in_features
        numbers = [encoded.fps[:, None].expand(-1, frames)]
        if self.tells_frame:
            order = torch.arange(frames, device=encoded.fps.device)
            numbers.append(order.expand(len(encoded.fps), -1))
        if encoded.level is not None:
            numbers.append(encoded.level[:, None].expand(-1, frames))
        flat = [embedded(number.flatten(), width) for number in numbers]
        return torch.cat(flat, dim=1).unflatten(0, (-1, frames))


def embedded(number: Tensor, width: int) -> Tensor:
    """Stable Diffusion's embedding of timesteps for numbers `[B]`, `[B, width]`."""
    return get_timestep_embedding(number, width, flip_sin_to_cos=True, downscale_freq_shift=0)


def add_numbers(unet: UNet2DConditionModel, count: int, silent: bool) -> None:
    """Let `unet` read `count` embedded numbers, which are added to its time embedding, in place.

    Args:
        silent: they start at zero, so that the untrained `unet` is as it was; else at random.
    """
    width = count * unet.time_embedding.linear_1.in_features
    unet.class_embedding = TimestepEmbedding(width, unet.time_embedding.linear_1.out_features)
    unet.register_to_config(
        class_embed_type="projection", projection_class_embeddings_input_dim=width
    )
    if silent:
        nn.init.zeros_(unet.class_embedding.linear_2.weight)
        nn.init.zeros_(unet.class_embedding.linear_2.bias)


WIDENED = ("conv_in.weight", "class_embedding.linear_1.weight")
"""Weights that read more inputs in a stage of the cascade than in the stage before."""


def widened(name: str, stored: Tensor, parameter: Tensor) -> Tensor | None:
    """The stage before's weight with zeros for the inputs that it lacks; None for other weights."""
    more = parameter.shape[1] - stored.shape[1] if parameter.ndim == stored.ndim > 1 else -1
    others = stored.shape[:1] + stored.shape[2:] == parameter.shape[:1] + parameter.shape[2:]
    if not name.endswith(WIDENED) or more < 0 or not others:
        return None
    return torch.cat([stored, stored.new_zeros(len(stored), more, *stored.shape[2:])], dim=1)


@torch.no_grad()
def start_loud_over_time(unet: UNet2DConditionModel) -> None:
    """Give layers over time that start at zero PyTorch's usual random weights, in place."""
    for layer in installed_layers(unet).values():
        if isinstance(layer, TemporalKernel):
            layer.convolution.reset_parameters()
        elif isinstance(layer, TemporalAttention) and layer.attention.to_out is not None:
            layer.attention.to_out[0].reset_parameters()


@dataclass(frozen=True)
class DenoiserOptions:
    """A denoiser to build.

    Attributes:
        prediction_type: what the network predicts: `epsilon` (the paper's), `v_prediction`, or what
            is to be added to the doubled stage before, in the base to the reference (`residual`).
        clip_frames: T, frames per clip; `data.windows` makes clips of as many.
        schedule: `scaled_linear` (Stable Diffusion's), `linear` or `cosine`; 1000 steps.
        reference: which frames' channels hold the reference: the `first` (the paper's) or `all`.
        tells_frame: whether each frame is told its number beside the frame rate (ours); a small
            model with random weights moves things the sooner for it.
        loud: whether layers over time start at random instead of as the identity; None: beside
            random weights only, which have nothing to be lost.
    """

    prediction_type: Prediction = "epsilon"
    clip_frames: int = 16
    schedule: Literal["scaled_linear", "linear", "cosine"] = "scaled_linear"
    reference: Shown = "first"
    tells_frame: bool = False
    loud: bool | None = None


def build_denoiser(
    unet: UNetSource, channels: int, text_width: int, options: DenoiserOptions, is_base: bool
) -> StageDenoiser:
    """A denoiser as it starts training: a trained image model is itself still, frame by frame.

    Args:
        unet: where the image model comes from.
        channels: latent channels.
        text_width: width of the text tokens.
        options: the rest.
        is_base: whether there is no stage before it.

    Raises:
        UserError: a U-Net that reads tokens of another width.
    """
    network = unet.build(channels)
    check_tokens(network, text_width)
    if not unet.trained:
        start_loud(network)
    widen_input(network, channels if is_base else 2 * channels, silent=unet.trained)
    count = 1 + options.tells_frame + (not is_base)
    add_numbers(network, count, silent=unet.trained)
    clips = ClipUNet.around(network, every="conv")
    if not unet.trained if options.loud is None else options.loud:
        start_loud_over_time(network)
    schedule = getattr(NoiseSchedule, options.schedule)()
    kind, frames = options.prediction_type, options.clip_frames
    shown, tells = options.reference, options.tells_frame
    return StageDenoiser(clips, schedule, kind, frames, shown, tells)
