"""Layers over time in a diffusers image model (VidRD Sec. 4.1, Fig. 2-3; VideoGen Sec. 3.2).

They end in zeros, so that the untrained whole equals the image model bit for bit, frame by frame.
They are children of the layers that they follow: every weight of the image model keeps its name,
and the new ones are those with `.temporal.` in theirs.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import Attention, BasicTransformerBlock
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from lightning_artv.errors import UserError

Trained = Literal["all", "transformers", "temporal", "image"]
"""What is trained: everything; layers over time and spatial transformer blocks; only the former;
everything but the former."""

Every = Literal["block", "conv"]
"""What convolutions over time follow: each residual block (VidRD), or each 3x3 convolution, where
attention over time is between spatial and cross attention instead of behind both (VideoGen)."""

TEMPORAL = ".temporal."

_ATTENDED = 2**15
"""Pixels whose frames attend at once: CUDA's kernels take fewer than 2^16."""


class Clip:
    """How many frames of a batch follow each other; one object for all layers of a network."""

    frames: int = 1


class TemporalConv(nn.Module):
    """`x + C_n ... C_1 x` over time; C is GroupNorm, SiLU, (dropout,) a convolution of 3 frames.

    diffusers' `TemporalConvLayer`, as a faster two-dimensional convolution of kernel (3, 1).

    Args:
        channels: number of channels of `x`.
        clip: shared with the other layers.
        layers: how many convolutions; the last starts at zero.
        groups: number of groups of the GroupNorms; they span the frames.
        dropout: dropout probability before all convolutions but the first.
    """

    def __init__(
        self, channels: int, clip: Clip, layers: int = 4, groups: int = 32, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.clip, self.channels, self.depth = clip, channels, layers
        convolutions = [
            nn.Conv2d(channels, channels, (3, 1), padding=(1, 0)) for _ in range(layers)
        ]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.GroupNorm(groups, channels),
                    nn.SiLU(),
                    nn.Dropout(dropout if index else 0.0),
                    convolution,
                )
                for index, convolution in enumerate(convolutions)
            )
        )
        for zeroed in convolutions[-1].parameters():
            nn.init.zeros_(zeroed)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B*F, C, h, w]` to the same shape."""
        return x + over_time(self.layers, x, self.clip.frames)


def over_time(layers: nn.Module, x: Tensor, frames: int) -> Tensor:
    """What convolutions over `[B, C, F, h*w]` make of `x` `[B*F, C, h, w]`, in its shape."""
    clips = x.unflatten(0, (-1, frames)).transpose(1, 2).flatten(3)
    clips = clips.contiguous()  # channels last, after frozen layers, torch's CPU kernel crashes
    change: Tensor = layers(clips)
    return change.unflatten(3, x.shape[2:]).transpose(1, 2).flatten(0, 1)


class TemporalAttention(nn.Module):
    """`x + O Attn(LN(x) + p)` over the frames of each pixel; p is the sine-cosine of the frame.

    Args:
        width: width of `x`.
        heads: as many as the spatial attention has.
        clip: shared with the other layers.
        early: in a transformer block, before the cross attention instead of behind it.
    """

    def __init__(self, width: int, heads: int, clip: Clip, early: bool = False) -> None:
        super().__init__()
        self.clip, self.early = clip, early
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads=heads, dim_head=width // heads)
        nn.init.zeros_(self.attention.to_out[0].weight)
        nn.init.zeros_(self.attention.to_out[0].bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B*F, n, D]` to the same shape; n pixels."""
        frames, pixels = self.clip.frames, x.shape[1]
        rows = x.unflatten(0, (-1, frames)).transpose(1, 2).flatten(0, 1)
        order = torch.arange(frames, device=x.device)
        places = get_timestep_embedding(order, x.shape[2], downscale_freq_shift=0)
        rows = self.norm(rows) + places.to(x.dtype)
        change = torch.cat([self.attention(part) for part in rows.split(_ATTENDED)])
        return x + change.unflatten(0, (-1, pixels)).transpose(1, 2).flatten(0, 1)


class TemporalKernel(nn.Module):
    """`x + C x` over time; C is a convolution of 3 frames that starts at zero (VideoGen Sec. 3.2).

    It is the paper's convolution that starts as the identity, but weight decay pulls it to that.

    Args:
        channels: number of channels of `x`.
        clip: shared with the other layers.
    """

    def __init__(self, channels: int, clip: Clip) -> None:
        super().__init__()
        self.clip, self.channels = clip, channels
        self.convolution = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        for zeroed in self.convolution.parameters():
            nn.init.zeros_(zeroed)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B*F, C, h, w]` to the same shape."""
        return x + over_time(self.convolution, x, self.clip.frames)


Layer = TemporalConv | TemporalAttention | TemporalKernel
Layers = dict[str, Layer]
"""Name of the block that they follow -> layers over time of a network."""


class ClipResnetBlock(ResnetBlock2D):
    """diffusers' residual block, then a `TemporalConv`."""

    temporal: TemporalConv

    def forward(self, input_tensor: Tensor, temb: Tensor | None = None) -> Tensor:
        """Map `[B*F, C, h, w]` to `[B*F, out_channels, h, w]`."""
        return self.temporal(super().forward(input_tensor, temb))


class ClipTransformerBlock(BasicTransformerBlock):
    """diffusers' transformer block with a `TemporalAttention` beside the cross attention."""

    temporal: TemporalAttention

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        timestep: Tensor | None = None,
        cross_attention_kwargs: dict[str, object] | None = None,
        class_labels: Tensor | None = None,
    ) -> Tensor:
        """Map `[B*F, n, D]` to the same shape; the arguments are diffusers'."""
        x, text, more = hidden_states, encoder_hidden_states, cross_attention_kwargs or {}
        x = x + self.attn1(self.norm1(x), attention_mask=attention_mask, **more)
        x = self.temporal(x) if self.temporal.early else x
        x = x + self.attn2(self.norm2(x), text, encoder_attention_mask, **more)
        x = x if self.temporal.early else self.temporal(x)
        x = x + self.ff(self.norm3(x))
        assert isinstance(x, Tensor)
        return x


class ClipConv2d(nn.Conv2d):
    """A convolution, then a `TemporalKernel`."""

    temporal: TemporalKernel

    def forward(self, input: Tensor) -> Tensor:
        """Map `[B*F, C, h, w]` to `[B*F, out_channels, h', w']`."""
        return self.temporal(super().forward(input))


class ClipSpatialAttention(Attention):
    """diffusers' attention over the pixels of a picture, then a `TemporalAttention`."""

    temporal: TemporalAttention

    def forward(self, hidden_states: Tensor, *others: Any, **more: Any) -> Tensor:
        """Map `[B*F, C, h, w]` to the same shape; the other arguments are diffusers'."""
        x = super().forward(hidden_states, *others, **more)
        pixels = self.temporal(x.flatten(2).transpose(1, 2))
        return pixels.transpose(1, 2).unflatten(2, x.shape[2:])


_CLIP: dict[type, type] = {
    ResnetBlock2D: ClipResnetBlock,
    BasicTransformerBlock: ClipTransformerBlock,
    nn.Conv2d: ClipConv2d,
    Attention: ClipSpatialAttention,
}
"""Class of a block -> what it becomes with a layer over time behind it."""
_PLAIN = {clip: plain for plain, clip in _CLIP.items()}


def new_layers(
    unet: UNet2DConditionModel, clip: Clip, dropout: float = 0.0, every: Every = "block"
) -> Layers:
    """Convolutions over time, and a `TemporalAttention` for each transformer block; by the name of
    what they follow.

    Raises:
        UserError: a U-Net of another kind than Stable Diffusion's.
    """
    layers: Layers = {}
    for name, block in unet.named_modules():
        if isinstance(block, ResnetBlock2D) and every == "block":
            groups = unet.config.norm_num_groups
            layers[name] = TemporalConv(block.out_channels, clip, groups=groups, dropout=dropout)
        elif isinstance(block, nn.Conv2d) and every == "conv" and block.kernel_size == (3, 3):
            layers[name] = TemporalKernel(block.out_channels, clip)
        elif isinstance(block, BasicTransformerBlock):
            if block.norm_type != "layer_norm" or block.attn2 is None:
                raise UserError("Layers over time fit U-Nets of Stable Diffusion's kind only.")
            width, heads = block.attn1.inner_dim, block.attn1.heads
            layers[name] = TemporalAttention(width, heads, clip, early=every == "conv")
    return layers


def install(network: nn.Module, layers: Layers) -> None:
    """Put layers where they are named, in place: the blocks become ones that use them."""
    for name, layer in layers.items():
        block = network.get_submodule(name)
        block.__class__ = _CLIP.get(type(block), type(block))
        block.temporal = layer.to(next(block.parameters()).device)


def uninstall(network: nn.Module) -> None:
    """Make `network` the image model again, in place."""
    for block in [*network.modules()]:
        if type(block) in _PLAIN:
            del block.temporal
            block.__class__ = _PLAIN[type(block)]


def installed_layers(network: nn.Module) -> Layers:
    """The layers that are in `network`, as `install` takes them."""
    return {
        name: block.temporal for name, block in network.named_modules() if type(block) in _PLAIN
    }


def add_temporal_layers(
    unet: UNet2DConditionModel, dropout: float = 0.0, every: Every = "block"
) -> Clip:
    """Give `unet` new layers over time, in place.

    Args:
        unet: not compiled yet; LoRA, where it is wanted, is in it already.
        dropout: dropout probability of the convolutions after residual blocks (0.1 in VidRD's
            code).
        every: what the convolutions follow.

    Returns:
        what tells them how many frames there are.

    Raises:
        UserError: a U-Net of another kind than Stable Diffusion's.
    """
    clip = Clip()
    install(unet, new_layers(unet, clip, dropout, every))
    return clip


def freeze_all_but(network: nn.Module, trained: Trained) -> None:
    """Freeze what is not to be trained; what is frozen already stays so (LoRA's base).

    VidRD's paper trains the layers over time and the transformer blocks (Sec. 5.1).
    """
    for name, parameter in network.named_parameters():
        over_time = TEMPORAL in name
        in_transformer = trained == "transformers" and ".transformer_blocks." in name
        is_kept = not over_time if trained == "image" else over_time or in_transformer
        if trained != "all" and not is_kept:
            parameter.requires_grad_(False)
