"""VideoGen's layers over time: one convolution against torch's, attention before the text."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import nn

from lightning_artv.networks.temporal import (
    Clip,
    TemporalAttention,
    TemporalKernel,
    install,
    uninstall,
)


def clip_of(frames: int) -> Clip:
    clip = Clip()
    clip.frames = frames
    return clip


@pytest.mark.parametrize("frames", [1, 2, 5, 16])
def test_a_kernel_is_a_convolution_over_time_that_starts_as_the_identity(frames: int) -> None:
    layer = TemporalKernel(6, clip_of(frames))
    theirs = nn.Conv3d(6, 6, (3, 1, 1), padding=(1, 0, 0))
    x = torch.randn(2 * frames, 6, 3, 4)
    assert torch.equal(layer(x), x)
    nn.init.normal_(layer.convolution.weight)
    nn.init.normal_(layer.convolution.bias)
    theirs.weight.data = layer.convolution.weight.data[..., None].clone()
    for channel in range(6):  # the identity is in the kernel's middle, as the paper has it
        theirs.weight.data[channel, channel, 1] += 1
    theirs.bias.data = layer.convolution.bias.data
    clips = x.unflatten(0, (2, frames)).transpose(1, 2)
    expected = theirs(clips).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("early", [True, False])
def test_attention_over_time_is_before_or_behind_the_cross_attention(early: bool) -> None:
    torch.manual_seed(0)
    block = BasicTransformerBlock(8, 2, 4, cross_attention_dim=6)
    host = nn.ModuleDict({"block": block})
    layer = TemporalAttention(8, 2, clip_of(3), early)
    nn.init.normal_(layer.attention.to_out[0].weight)
    install(host, {"block": layer})
    x, text = torch.randn(6, 5, 8), torch.randn(6, 4, 6)
    with torch.no_grad():
        made = host["block"](x, encoder_hidden_states=text)
        y = x + block.attn1(block.norm1(x))
        y = layer(y) if early else y
        y = y + block.attn2(block.norm2(y), text)
        y = y if early else layer(y)
        torch.testing.assert_close(made, y + block.ff(block.norm3(y)))
    uninstall(host)
    assert type(host["block"]) is BasicTransformerBlock
