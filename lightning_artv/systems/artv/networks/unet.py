"""A diffusers U-Net conditioned on text, references, anchor and noise level (paper Sec. 3.1-3.4,
Fig. 3).

What is added to a trained U-Net starts at zero, so that the untrained whole equals it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import TimestepEmbedding
from torch import Tensor, nn

from lightning_artv.networks.unet import start_loud
from lightning_artv.systems.artv.networks.adapter import ReferenceAdapter
from lightning_artv.systems.artv.networks.anchor import (
    AnchorEncoder,
    add_anchor_attention,
    keep_keys_values,
)
from lightning_artv.systems.artv.networks.shallow import DeepBlocks, keeping, shallow
from lightning_artv.systems.artv.networks.tokens import Joined, Tokens


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


@dataclass(frozen=True)
class EncodedConditions:
    """What a `ConditionedUNet` reads besides `y_t` and `t`; constant over the denoising steps of a
    frame.

    Attributes:
        text: text tokens `[B, L, D]`.
        features: the adapter's feature maps, one a level.
        anchor: anchor tokens `[B, N, D]`.
        noise_level: int64 `[B]`.
        deep: what the U-Net's deep blocks answered in the last step that kept it; at most one.
    """

    text: Tokens
    features: tuple[Tensor, ...]
    anchor: Tokens
    noise_level: Tensor
    deep: list[Tensor] = field(default_factory=list)

    @classmethod
    def joined(cls, parts: Sequence[EncodedConditions]) -> EncodedConditions:
        """The rows of several, one below the other."""
        return cls(
            Joined.of([part.text for part in parts]),
            tuple(torch.cat(level) for level in zip(*(p.features for p in parts), strict=True)),
            Joined.of([part.anchor for part in parts]),
            torch.cat([part.noise_level for part in parts]),
        )


class ConditionedUNet(nn.Module):
    """A U-Net with its own reference adapter, anchor attention and noise-level embedding.

    Args:
        unet: U-Net with anchor attention and noise level in it.
        adapter: adapter of the references.
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
            unet: what a `UNetSource` built; gains anchor attention and noise level in place.
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
        self, references: Tensor, anchor: Tensor, text: Tensor | Tokens, noise_level: Tensor
    ) -> EncodedConditions:
        """Compute once per frame what no denoising step changes.

        Args:
            references: latents of frames i-1 and i-2, `[B, 2, C, h, w]`.
            anchor: `[B, C, h, w]`.
            text: `[B, L, D]`.
            noise_level: the level of noise that references and anchor carry, int64 `[B]`.
        """
        features = tuple(self.adapter(references.flatten(1, 2)))
        text = text if isinstance(text, Tokens) else Tokens(text)
        return EncodedConditions(text, features, Tokens(self.anchor_encoder(anchor)), noise_level)

    def blocks(self) -> list[nn.Module]:
        """The U-Net's blocks, in the order of its `forward`."""
        return [*self.unet.down_blocks, self.unet.mid_block, *self.unet.up_blocks]

    def shard_units(self) -> list[nn.Module]:
        """See `VideoSystem.shard_units`."""
        return [self.unet, self.adapter, self.anchor_encoder]

    def forward(
        self, y_t: Tensor, t: Tensor, conditions: EncodedConditions, deep: DeepBlocks = "run"
    ) -> Tensor:
        """Map `y_t` `[B, C, h, w]` at steps `t` `[B]` to `[B, out_channels, h, w]`.

        Args:
            deep: `keep` keeps what the deep blocks answer, `reuse` takes what was kept instead of
                running them (`shallow.py`).
        """
        unet = self.unet
        if not torch.is_grad_enabled() and not conditions.anchor.kept:
            keep_keys_values(unet, conditions.text, conditions.anchor)
        inputs = {
            "encoder_hidden_states": conditions.text.values,
            "cross_attention_kwargs": {"text": conditions.text, "anchor": conditions.anchor},
        }
        if deep == "reuse" and conditions.deep:
            level, first = conditions.noise_level, conditions.features[0]
            return shallow(unet, y_t, t, level, first, conditions.deep[0], **inputs)
        with keeping(unet, conditions.deep) if deep == "keep" else nullcontext():
            output = unet(
                y_t,
                t,
                class_labels=conditions.noise_level,
                # a fresh list at each call: diffusers pops from it
                down_intrablock_additional_residuals=list(conditions.features),
                return_dict=False,
                **inputs,
            )[0]
        assert isinstance(output, Tensor)
        return output
