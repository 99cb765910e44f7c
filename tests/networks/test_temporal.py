"""Layers over time: against diffusers' own and against loops, and what they leave as it was."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.resnet import TemporalConvLayer
from torch import Tensor, nn

from lightning_artv.errors import UserError
from lightning_artv.networks.clip_unet import ClipUNet
from lightning_artv.networks.lora import add_lora
from lightning_artv.networks.temporal import (
    Clip,
    TemporalAttention,
    TemporalConv,
    add_temporal_layers,
)
from lightning_artv.networks.unet import PretrainedUNet, SmallUNet
from lightning_artv.speed import blocks as speed

SD_21 = {
    "sample_size": 64,
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
SIZES = [(1, 1, 3, 5), (3, 5, 7, 2), (1, 8, 4, 4), (2, 16, 1, 3)]
"""Clips, frames, height, width."""


def loud(module: nn.Module, seed: int = 0) -> None:
    """Every parameter at random, the zeros too."""
    g = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2, generator=g)


def clip_of(frames: int) -> Clip:
    clip = Clip()
    clip.frames = frames
    return clip


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_four_convolutions_are_those_of_diffusers(
    size: tuple[int, ...], dtype: torch.dtype
) -> None:
    clips, frames, height, width = size
    ours = TemporalConv(8, clip_of(frames), groups=4)
    theirs = TemporalConvLayer(8, norm_num_groups=4)
    loud(ours)
    for tensor, layer in zip(theirs.parameters(), ours.parameters(), strict=True):
        tensor.data = layer.data[..., None] if layer.dim() == 4 else layer.data
    x = torch.randn(clips * frames, 8, height, width, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32), torch.no_grad():
        mine, reference = ours(x), theirs(x, num_frames=frames)
    assert (mine - x).abs().max() > 0.1
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(mine, reference, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("size", SIZES)
def test_three_convolutions_are_sums_over_three_frames(size: tuple[int, ...]) -> None:
    clips, frames, height, width = size
    layer = TemporalConv(8, clip_of(frames), layers=3, groups=2)
    loud(layer)
    x = torch.randn(clips, frames, 8, height, width, generator=torch.Generator().manual_seed(1))
    y = x
    for norm, _, _, convolution in layer.layers:
        grouped = y.unflatten(2, (2, 4))
        mean = grouped.mean(dim=(1, 3, 4, 5), keepdim=True)
        var = grouped.var(dim=(1, 3, 4, 5), keepdim=True, unbiased=False)
        y = ((grouped - mean) / (var + 1e-5).sqrt()).flatten(2, 3)
        y = y * norm.weight[:, None, None] + norm.bias[:, None, None]
        y = y * y.sigmoid()
        padded = nn.functional.pad(y, (0, 0, 0, 0, 0, 0, 1, 1))
        near = torch.stack([padded[:, k : k + frames] for k in range(3)], dim=-1)
        y = torch.einsum("bfihwk,oik->bfohw", near, convolution.weight[..., 0])
        y = y + convolution.bias[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(
            layer(x.flatten(0, 1)), (x + y).flatten(0, 1), atol=1e-5, rtol=1e-5
        )


def test_latents_with_channels_last_train_behind_frozen_layers() -> None:
    """A GroupNorm whose channels-last input needs no gradient ends the process in torch 2.12."""
    first = TemporalConv(8, clip_of(4), groups=4)
    loud(first)
    x = torch.randn(8, 8, 6, 6)
    first(x.contiguous(memory_format=torch.channels_last)).square().mean().backward()
    last = [p.grad.clone() for p in first.parameters() if p.grad is not None]
    first.zero_grad()
    first(x).square().mean().backward()
    for one, parameter in zip(last, first.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad)


@pytest.mark.parametrize("size", SIZES)
def test_attention_is_a_softmax_over_the_frames_of_a_pixel(size: tuple[int, ...]) -> None:
    clips, frames, height, width = size
    layer = TemporalAttention(8, 2, clip_of(frames)).double()
    loud(layer)
    pixels = height * width
    g = torch.Generator().manual_seed(1)
    x = torch.randn(clips, frames, pixels, 8, dtype=torch.float64, generator=g)
    expected = x.clone()
    for b in range(clips):
        for n in range(pixels):
            expected[b, :, n] += attended(layer, x[b, :, n])
    with torch.no_grad():
        torch.testing.assert_close(layer(x.flatten(0, 1)), expected.flatten(0, 1))


def attended(layer: TemporalAttention, rows: Tensor) -> Tensor:
    """What attention adds to one pixel's frames `[F, 8]`, a frame and a head at a time."""
    attention, frames = layer.attention, len(rows)
    angles = torch.arange(frames)[:, None] * 10000.0 ** (-torch.arange(4) / 4)
    y = layer.norm(rows) + torch.cat([angles.sin(), angles.cos()], dim=1).double()
    q, k, v = (f(y).unflatten(1, (2, 4)) for f in (attention.to_q, attention.to_k, attention.to_v))
    out = torch.zeros(frames, 2, 4, dtype=rows.dtype)
    for head in range(2):
        for i in range(frames):
            weights = torch.stack([q[i, head] @ k[j, head] / 2 for j in range(frames)]).softmax(0)
            out[i, head] = sum(weights[j] * v[j, head] for j in range(frames))
    result: Tensor = attention.to_out[0](out.flatten(1)).detach()
    return result


def small(**options: object) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return SmallUNet((16, 32), text_width=16, norm_groups=8, **options).build(4)  # type: ignore[arg-type]


@pytest.mark.parametrize("frames", [1, 3, 8, 16])
@pytest.mark.parametrize("kind", ["small", "convolutional", "stable_diffusion"])
def test_at_first_every_frame_is_the_image_models_bit_for_bit(
    kind: str, frames: int, sd_folder: Path
) -> None:
    if kind == "stable_diffusion":
        unet = PretrainedUNet(str(sd_folder)).build(4)
    else:
        pooled = kind == "convolutional"
        unet = small(transformer_layers=[0, 1] if pooled else None, pooled_text=pooled)
    image_model, width = copy.deepcopy(unet), unet.config.cross_attention_dim
    network = ClipUNet.around(unet).eval()
    g = torch.Generator().manual_seed(2)
    z_t = torch.randn(2, frames, 4, 8, 8, generator=g)
    t = torch.randint(0, 1000, (2, frames), generator=g)
    text = torch.randn(2, 5, width, generator=g)
    with torch.no_grad():
        theirs = image_model.eval()(
            z_t.flatten(0, 1), t.flatten(), text.repeat_interleave(frames, 0)
        ).sample
        assert torch.equal(network(z_t, t, text).flatten(0, 1), theirs)
        loud_parts = [p for n, p in network.named_parameters() if ".temporal." in n]
        for parameter in loud_parts:
            nn.init.normal_(parameter, std=0.1)
        assert not torch.equal(network(z_t, t, text).flatten(0, 1), theirs)


def test_frames_of_a_clip_see_each_other_and_no_other_clip() -> None:
    network = ClipUNet.around(small()).eval()
    loud(network)
    g = torch.Generator().manual_seed(2)
    z_t, text = torch.randn(2, 4, 4, 8, 8, generator=g), torch.randn(2, 5, 16, generator=g)
    t = torch.full((2, 4), 500)
    changed = z_t.clone()
    changed[0, 3] += 1
    with torch.no_grad():
        before, after = network(z_t, t, text), network(changed, t, text)
    assert all((before[0, f] != after[0, f]).any() for f in range(4))
    assert torch.equal(before[1], after[1])


def test_parameters_at_full_size_are_the_papers() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD_21)
        of_images = sum(p.numel() for p in unet.parameters())
        network = ClipUNet.around(unet, "transformers")
    counts = {name: p for name, p in network.named_parameters()}
    temporal = sum(p.numel() for name, p in counts.items() if ".temporal." in name)
    trained = sum(p.numel() for p in counts.values() if p.requires_grad)
    total = sum(p.numel() for p in counts.values())
    assert (temporal, trained, total) == (316_490_560, 565_288_960, 1_182_401_284)
    assert total - temporal == of_images
    conv = sum(p.numel() for n, p in counts.items() if ".temporal.layers." in n)
    assert (round(conv / 1e6, 1), round((temporal - conv) / 1e6, 1)) == (266.9, 49.6)


def test_the_image_models_weights_keep_their_names(sd_folder: Path) -> None:
    unet = PretrainedUNet(str(sd_folder)).build(4)
    names = set(unet.state_dict())
    add_temporal_layers(unet)
    left = {n: v for n, v in unet.state_dict().items() if ".temporal." not in n}
    assert set(left) == names
    pipeline = StableDiffusionPipeline.from_pretrained(sd_folder, use_safetensors=True)
    assert pipeline.unet.load_state_dict(left).missing_keys == []


@pytest.mark.parametrize(
    ("trained", "moved"),
    [
        ("all", {"temporal", "transformer", "other"}),
        ("transformers", {"temporal", "transformer"}),
        ("temporal", {"temporal"}),
        ("image", {"transformer", "other"}),
    ],
)
def test_what_is_trained_moves_and_nothing_else(trained: str, moved: set[str]) -> None:
    network = ClipUNet.around(small(), trained)  # type: ignore[arg-type]
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    loud_ends = [p for n, p in network.named_parameters() if ".temporal." in n]
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 1.0)
    z_t, text = torch.randn(1, 3, 4, 8, 8), torch.randn(1, 5, 16)
    network(z_t, torch.full((1, 3), 500), text).square().mean().backward()
    optimizer.step()
    found = set()
    for name, parameter in network.named_parameters():
        if not torch.equal(parameter, before[name]):
            inside = "transformer" if ".transformer_blocks." in name else "other"
            found.add("temporal" if ".temporal." in name else inside)
    assert loud_ends and found == moved


def test_beside_lora_the_layers_over_time_are_trained_whole() -> None:
    unet = small()
    add_lora(unet, 2)
    network = ClipUNet.around(unet, "transformers")
    kinds = {
        "temporal" if ".temporal." in n else "lora" if "lora_" in n else "other": p.requires_grad
        for n, p in network.named_parameters()
    }
    assert kinds == {"temporal": True, "lora": True, "other": False}
    names = [n for n, _ in network.named_parameters() if ".temporal." in n and "lora" in n]
    assert names == []


class Bare(nn.Module):
    """As much of a system as the speed code looks at."""

    def __init__(self, network: ClipUNet) -> None:
        super().__init__()
        self.network = network

    def blocks(self) -> list[nn.Module]:
        return self.network.blocks()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recomputed_activations_give_the_same_gradients(dropout: float) -> None:
    network = ClipUNet.around(small(), dropout=dropout).train()
    loud(network)
    inputs = torch.randn(2, 3, 4, 8, 8), torch.full((2, 3), 500), torch.randn(2, 5, 16)
    gradients = []
    for recomputed in (False, True):
        if recomputed:
            speed.recompute_activations(Bare(network))  # type: ignore[arg-type]
        network.zero_grad()
        torch.manual_seed(3)
        network(*inputs).square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert len(gradients[0]) > 50
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain)


def test_compiled_blocks_take_clips_of_any_length() -> None:
    network = ClipUNet.around(small()).eval()
    loud(network)
    inputs = [
        (torch.randn(2, f, 4, 8, 8), torch.full((2, f), 500), torch.randn(2, 5, 16)) for f in (3, 6)
    ]
    with torch.no_grad():
        plain = [network(*one) for one in inputs]
        speed.compile_blocks(Bare(network), backend="eager")  # type: ignore[arg-type]
        for one, expected in zip(inputs, plain, strict=True):
            torch.testing.assert_close(network(*one), expected)


def test_a_unet_of_another_kind_is_refused() -> None:
    unet = UNet2DConditionModel(
        block_out_channels=(32,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        cross_attention_dim=16,
    )
    for module in unet.modules():
        if hasattr(module, "norm_type"):
            module.norm_type = "ada_norm"
    with pytest.raises(UserError, match="Stable Diffusion's kind"):
        add_temporal_layers(unet)
