"""The layers over time of a plain U-Net as a part of a pipeline."""

from __future__ import annotations

from typing import Any

from diffusers import UNet2DConditionModel
from torch import nn

from lightning_artv.errors import UserError
from lightning_artv.networks.temporal import Clip, Layers, TemporalAttention
from lightning_artv.pipelines.parts import key


class OverTime:
    """Layers over time of a plain U-Net, as a diffusers model that holds them (a mixin).

    Attributes:
        config: `convolutions` and `attentions` name the modules that are followed by a layer.
        layers: those layers, by `key`.
        clip: tells them how many frames a clip has.
    """

    config: Any
    layers: nn.ModuleDict
    clip: Clip

    def by_name(self) -> Layers:
        """As `networks.temporal.install` takes them."""
        names = {key(name): name for name in (*self.config.convolutions, *self.config.attentions)}
        return {names[short]: layer for short, layer in self.layers.items()}  # type: ignore[misc]

    def check_fits(self, unet: UNet2DConditionModel) -> None:
        """Raises:
        UserError: a U-Net of another layout.
        """
        modules = dict(unet.named_modules())
        wrong = [name for name in self.by_name() if name not in modules]
        sizes = self.config.convolutions.items()
        wrong += [n for n, c in sizes if getattr(modules.get(n), "out_channels", None) != c]
        if wrong:
            raise UserError(
                f"The U-Net does not fit the layers over time ({wrong[0]}): give one of the layout "
                "that they were trained in."
            )


def sides(layer: TemporalAttention) -> list[int]:
    """Width and heads."""
    return [layer.attention.inner_dim, layer.attention.heads]
