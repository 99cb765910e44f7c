"""The part of an exported VidRD that diffusers has no class for.

diffusers finds it here by module and class name (`model_index.json`), and needs `ModelMixin` to be
a name of the same module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from torch import nn

from lightning_artv.networks.clip_unet import ClipUNet
from lightning_artv.networks.temporal import (
    TEMPORAL,
    Clip,
    Layers,
    TemporalAttention,
    TemporalConv,
    install,
    installed_layers,
    uninstall,
)
from lightning_artv.pipelines.clips import OverTime, sides
from lightning_artv.pipelines.parts import key


class TemporalLayers(OverTime, ModelMixin, ConfigMixin):
    """What makes a plain U-Net one over clips (paper Fig. 2): its layers over time.

    Args:
        convolutions: name of each residual block -> channels.
        attentions: name of each transformer block -> width and heads.
        groups: number of groups of the GroupNorms.
        depth: convolutions in a row.
    """

    @register_to_config
    def __init__(
        self,
        convolutions: dict[str, int],
        attentions: dict[str, list[int]],
        groups: int,
        depth: int = 4,
    ) -> None:
        super().__init__()
        self.clip = Clip()
        layers: Layers = {
            name: TemporalConv(channels, self.clip, depth, groups)
            for name, channels in convolutions.items()
        }
        layers |= {
            name: TemporalAttention(width, heads, self.clip)
            for name, (width, heads) in attentions.items()
        }
        self.layers = nn.ModuleDict({key(name): layer for name, layer in layers.items()})

    @classmethod
    def of(cls, network: ClipUNet) -> TemporalLayers:
        """The layers of a network that is there; tensors are shared, not copied."""
        found = installed_layers(network.unet)
        convolutions, attentions, depth = {}, {}, 4
        for name, layer in found.items():
            if isinstance(layer, TemporalConv):
                convolutions[name], depth = layer.channels, layer.depth
            elif isinstance(layer, TemporalAttention):
                attentions[name] = sides(layer)
        groups = network.unet.config.norm_num_groups
        with torch.device("meta"):  # only the frame: its layers are replaced by the network's
            part = cls(convolutions, attentions, groups, depth)
        for name, layer in found.items():
            part.layers[key(name)] = layer
        part.clip = network.clip
        return part.eval()

    def install(self, unet: UNet2DConditionModel) -> None:
        """Put the layers into `unet`, in place.

        Raises:
            UserError: a U-Net of another layout.
        """
        self.check_fits(unet)
        install(unet, self.by_name())

    @contextmanager
    def installed(self, unet: UNet2DConditionModel) -> Iterator[None]:
        """Within, `unet` has the layers; then it is an image model again."""
        self.install(unet)
        try:
            yield
        finally:
            uninstall(unet)


def plain_unet(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """`unet` without layers over time: Stable Diffusion's; tensors are shared."""
    with torch.device("meta"):
        plain = UNet2DConditionModel.from_config(unet.config)
    state = unet.state_dict(keep_vars=True)
    plain.load_state_dict({n: x for n, x in state.items() if TEMPORAL not in n}, assign=True)
    return plain.eval()
