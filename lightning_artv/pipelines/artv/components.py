"""The parts of an exported folder that diffusers and transformers have no class for.

Stable Diffusion's own parts keep their own classes, so that they can be exchanged with its
pipelines. diffusers finds these here by module and class name (`model_index.json`), and needs
`ModelMixin` to be a name of the same module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding
from torch import nn

from lightning_artv.errors import UserError
from lightning_artv.pipelines.parts import ByteTextModel, PixelUnshuffleVAE, key
from lightning_artv.systems.artv.denoiser import Masking
from lightning_artv.systems.artv.networks.adapter import ReferenceAdapter
from lightning_artv.systems.artv.networks.anchor import (
    AnchorEncoder,
    DecoupledAttention,
    SelfAttention,
)
from lightning_artv.systems.artv.networks.unet import ConditionedUNet

__all__ = ["ByteTextModel", "Conditioning", "ModelMixin", "PixelUnshuffleVAE"]  # folders name these


class Conditioning(ModelMixin, ConfigMixin):
    """What makes a plain U-Net an ART•V one (paper Fig. 3): adapter, anchor, noise level.

    It is a model of its own because diffusers drops attention processors when it saves a U-Net.

    Args:
        latent_channels: channels of one latent frame.
        widths: the U-Net's block widths.
        token_dim: width of text and anchor tokens.
        time_channels: channels in and out of the noise level's embedding (the U-Net's time
            embedding's).
        anchor_patch: side of the anchor's patches, in latent pixels.
        attention: name of each cross attention in the U-Net -> its width.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int,
        widths: list[int],
        token_dim: int,
        time_channels: list[int],
        anchor_patch: int,
        attention: dict[str, int],
    ) -> None:
        super().__init__()
        self.adapter = ReferenceAdapter(2 * latent_channels, widths, silent=True)
        self.anchor_encoder = AnchorEncoder(latent_channels, token_dim, anchor_patch)
        self.noise_level = TimestepEmbedding(*time_channels)
        self.anchor_attention = nn.ModuleDict(
            {
                key(name): DecoupledAttention(width, token_dim, True)
                for name, width in attention.items()
            }
        )

    @classmethod
    def of(cls, network: ConditionedUNet) -> Conditioning:
        """The parts of a network that is there; tensors are shared, not copied."""
        embedding = network.unet.class_embedding
        with torch.device("meta"):  # only the frame: its parts are replaced by the network's
            conditioning = cls(
                network.anchor_encoder.project.in_channels,
                list(network.unet.config.block_out_channels),
                network.unet.config.cross_attention_dim,
                [embedding.linear_1.in_features, embedding.linear_1.out_features],
                network.anchor_encoder.patch,
                cross_attention_widths(network.unet),
            )
        conditioning.adapter, conditioning.anchor_encoder = network.adapter, network.anchor_encoder
        conditioning.noise_level = embedding
        for name, attention in cross_attentions(network.unet).items():
            conditioning.anchor_attention[key(name)] = attention.processor
        return conditioning.eval()

    def install(self, unet: UNet2DConditionModel) -> None:
        """Give `unet` this anchor attention and noise level, in place.

        Raises:
            UserError: parts that do not fit together.
        """
        self._check_fits(unet)
        unet.set_attn_processor(
            {
                name: self.anchor_attention[key(name.removesuffix(".processor"))]
                if name.endswith("attn2.processor")
                else SelfAttention()
                for name in unet.attn_processors
            }
        )
        unet.class_embedding = self.noise_level
        unet.register_to_config(class_embed_type="timestep")

    @contextmanager
    def installed(self, unet: UNet2DConditionModel) -> Iterator[None]:
        """Within, `unet` has this anchor attention and noise level; then it is as before.

        So a pipeline's U-Net stays Stable Diffusion's, and may belong to another pipeline as well.

        Raises:
            UserError: parts that do not fit together.
        """
        before = unet.attn_processors
        self.install(unet)
        try:
            yield
        finally:
            unet.set_attn_processor(before)
            unet.class_embedding = None
            unet.register_to_config(class_embed_type=None)

    def _check_fits(self, unet: UNet2DConditionModel) -> None:
        if unet.class_embedding is not None:
            raise UserError("The U-Net has a class embedding of its own: give Stable Diffusion's.")
        config, theirs = self.config, unet.config
        ours = (config.attention, list(config.widths), config.token_dim)
        widths, tokens = list(theirs.block_out_channels), theirs.cross_attention_dim
        if ours != (cross_attention_widths(unet), widths, tokens):
            raise UserError(
                f"The U-Net (widths {widths}, tokens of {tokens}) does not fit the ART•V parts, "
                f"made for widths {ours[1]} and tokens of {ours[2]}: give one of that layout."
            )


DEFAULTS = {f.name: f.default for f in fields(Masking) if f.name != "prediction_type"}
"""What of a system is neither a network nor in the scheduler, and the paper's value of it."""


def cross_attentions(unet: UNet2DConditionModel) -> dict[str, Attention]:
    """Name -> cross attention of `unet`."""
    return {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, Attention) and name.endswith("attn2")
    }


def cross_attention_widths(unet: UNet2DConditionModel) -> dict[str, int]:
    """Name -> width of each cross attention of `unet`."""
    return {name: attention.inner_dim for name, attention in cross_attentions(unet).items()}


def plain_unet(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """`unet` without anchor attention and noise level: Stable Diffusion's; tensors are shared."""
    with torch.device("meta"):
        plain = UNet2DConditionModel.from_config({**unet.config, "class_embed_type": None})
    state = {
        name: tensor
        for name, tensor in unet.state_dict(keep_vars=True).items()
        if not name.startswith("class_embedding.") and ".processor." not in name
    }
    plain.load_state_dict(state, assign=True)
    return plain.eval()
