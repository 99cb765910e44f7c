"""A U-Net's tensors under the names of Stable Diffusion's original code (diffusers' own script)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

LEVELS = 4
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def unet_in_original_layout(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` of a U-Net of four levels with one residual block each."""
    return {f"model.diffusion_model.{_name(name)}": tensor for name, tensor in state.items()}


def _name(name: str) -> str:
    for ours, original in OUTSIDE.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, original)
    found = re.match(r"(down_blocks|up_blocks)\.(\d)\.(\w+)\.(\d)\.(.*)", name)
    if found:
        side, level, kind, layer, rest = found.groups()
        return _block(side == "down_blocks", int(level), kind, int(layer), rest)
    kind, index, rest = name.removeprefix("mid_block.").split(".", 2)
    position = 1 if kind == "attentions" else 2 * int(index)
    return f"middle_block.{position}.{_inside(rest)}"


def _block(down: bool, level: int, kind: str, layer: int, rest: str) -> str:
    if down:
        number = 2 * level + (2 if kind == "downsamplers" else 1)
        if kind == "downsamplers":
            return f"input_blocks.{number}.0.{rest.replace('conv', 'op')}"
        return f"input_blocks.{number}.{int(kind == 'attentions')}.{_inside(rest)}"
    number = 2 * level + layer
    if kind == "upsamplers":
        return f"output_blocks.{2 * level + 1}.{1 if level == 0 else 2}.{rest}"
    return f"output_blocks.{number}.{int(kind == 'attentions')}.{_inside(rest)}"


def _inside(rest: str) -> str:
    first, _, last = rest.partition(".")
    return f"{RESNET[first]}.{last}" if first in RESNET else rest
