"""The part of an exported stage of VideoGen that diffusers has no class for.

diffusers finds it here by module and class name (`model_index.json`), and needs `ModelMixin` to be
a name of the same module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding
from torch import nn

from lightning_artv.networks.clip_unet import ClipUNet
from lightning_artv.networks.temporal import (
    TEMPORAL,
    Clip,
    Layers,
    TemporalAttention,
    TemporalKernel,
    install,
    installed_layers,
    uninstall,
)
from lightning_artv.pipelines.clips import OverTime, sides
from lightning_artv.pipelines.parts import key


class StageLayers(OverTime, ModelMixin, ConfigMixin):
    """What makes a plain U-Net a stage: layers over time, what it reads beside `z_t`, and numbers.

    Args:
        convolutions: name of each convolution that is followed by one over time -> channels.
        attentions: name of each transformer block -> width and heads.
        reads: channels read beside `z_t`.
        first: channels out of the U-Net's first convolution.
        numbers: widths in and out of the embedding of frame rate and level.
    """

    @register_to_config
    def __init__(
        self,
        convolutions: dict[str, int],
        attentions: dict[str, list[int]],
        reads: int,
        first: int,
        numbers: list[int],
    ) -> None:
        super().__init__()
        self.clip = Clip()
        layers: Layers = {n: TemporalKernel(c, self.clip) for n, c in convolutions.items()}
        layers |= {
            name: TemporalAttention(width, heads, self.clip, early=True)
            for name, (width, heads) in attentions.items()
        }
        self.layers = nn.ModuleDict({key(name): layer for name, layer in layers.items()})
        self.shown = nn.Conv2d(reads, first, 3, padding=1, bias=False)
        self.embedding = TimestepEmbedding(*numbers)

    @classmethod
    def of(cls, network: ClipUNet, channels: int) -> StageLayers:
        """What a network that is there has beside the image model; most tensors are shared.

        Args:
            network: a stage's.
            channels: number of channels of `z_t`.
        """
        unet, found = network.unet, installed_layers(network.unet)
        convolutions, attentions = {}, {}
        for name, layer in found.items():
            if isinstance(layer, TemporalAttention):
                attentions[name] = sides(layer)
            else:
                convolutions[name] = layer.channels
        weight, numbers = unet.conv_in.weight, unet.class_embedding
        widths = [numbers.linear_1.in_features, numbers.linear_1.out_features]
        with torch.device("meta"):  # only the frame: its layers are replaced by the network's
            part = cls(convolutions, attentions, weight.shape[1] - channels, len(weight), widths)
        for name, layer in found.items():
            part.layers[key(name)] = layer
        part.clip, part.embedding = network.clip, numbers
        part.shown.weight = nn.Parameter(weight.detach()[:, channels:].clone())
        return part.eval()

    def install(self, unet: UNet2DConditionModel) -> None:
        """Make a stage of the image model `unet`, in place.

        Raises:
            UserError: a U-Net of another layout.
        """
        self.check_fits(unet)
        plain = unet.conv_in
        joined = torch.cat([plain.weight, self.shown.weight.to(plain.weight)], dim=1)
        unet.conv_in = _first(joined, plain.bias)
        unet.register_to_config(in_channels=joined.shape[1])
        unet.class_embedding = self.embedding
        install(unet, self.by_name())

    @contextmanager
    def installed(self, unet: UNet2DConditionModel) -> Iterator[None]:
        """Within, `unet` is a stage; then it is an image model again."""
        plain = unet.conv_in
        self.install(unet)
        try:
            yield
        finally:
            uninstall(unet)
            unet.conv_in, unet.class_embedding = plain, None
            unet.register_to_config(in_channels=plain.in_channels)


def plain_unet(unet: UNet2DConditionModel, channels: int) -> UNet2DConditionModel:
    """A stage's U-Net without what is VideoGen's: Stable Diffusion's; most tensors are shared."""
    ours = {"class_embed_type": None, "projection_class_embeddings_input_dim": None}
    with torch.device("meta"):
        plain = UNet2DConditionModel.from_config({**unet.config, **ours, "in_channels": channels})
    state = {
        name: tensor
        for name, tensor in unet.state_dict(keep_vars=True).items()
        if TEMPORAL not in name and not name.startswith("class_embedding.")
    }
    first = state["conv_in.weight"].detach()[:, :channels].clone()
    state["conv_in.weight"] = nn.Parameter(first)
    plain.load_state_dict(state, assign=True)
    return plain.eval()


def _first(weight: torch.Tensor, bias: nn.Parameter) -> nn.Conv2d:
    with torch.device("meta"):
        conv = nn.Conv2d(weight.shape[1], len(weight), 3, padding=1)
    conv.weight, conv.bias = nn.Parameter(weight.detach()), bias
    return conv
