"""Decoders with layers over time: the untouched prior, counts, and long clips."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import DiffusersAutoencoder, PixelUnshuffleAutoencoder
from lightning_artv.networks.temporal import TEMPORAL, Clip, TemporalKernel, installed_layers
from lightning_artv.networks.temporal_decoder import (
    Joins,
    Place,
    TemporalDecoder,
    VideoAutoencoder,
)

PLACES: tuple[Place, ...] = ("blocks", "convolutions")


def small_vae(**changes: object) -> AutoencoderKL:
    """Stable Diffusion's autoencoder with tiny widths and a factor of 4."""
    torch.manual_seed(0)
    options: dict[str, object] = {
        "block_out_channels": (8, 16, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "norm_num_groups": 4,
        "latent_channels": 4,
        "sample_size": 32,
        **changes,
    }
    return AutoencoderKL(**options).eval()  # type: ignore[arg-type]


def loud(decoder: TemporalDecoder) -> TemporalDecoder:
    """All that starts at zero at random."""
    for name, parameter in decoder.named_parameters():
        if TEMPORAL in name:
            nn.init.normal_(parameter, std=0.2)
    return decoder


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("frames", [1, 5, 16])
def test_the_untrained_decoder_is_the_image_models(place: Place, frames: int) -> None:
    vae = small_vae()
    latents = torch.randn(2, frames, 4, 5, 6)
    with torch.no_grad():
        expected = vae.decode(latents.flatten(0, 1) / vae.config.scaling_factor).sample
        found = TemporalDecoder(vae, place).eval()(latents)
    assert torch.equal(found.flatten(0, 1), expected)


def test_it_has_as_many_parameters_as_the_papers() -> None:
    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
        )
        counts = {place: parameters_by_class(TemporalDecoder(vae, place)) for place in PLACES}
    assert sum(p.numel() for p in vae.decoder.parameters()) / 1e6 == pytest.approx(49.5, abs=0.1)
    assert counts["blocks"]["TemporalConv"] / 1e6 == pytest.approx(16.4, abs=0.1)
    assert set(counts["convolutions"]) == {"TemporalKernel", "TemporalAttention"}
    assert counts["convolutions"]["TemporalKernel"] / 1e6 == pytest.approx(16.6, abs=0.1)


def parameters_by_class(decoder: TemporalDecoder) -> Counter[str]:
    counts: Counter[str] = Counter()
    for layer in installed_layers(decoder.decoder).values():
        counts[type(layer).__name__] += sum(p.numel() for p in layer.parameters())
    return counts


def test_where_the_layers_are() -> None:
    blocks = installed_layers(TemporalDecoder(small_vae(), "blocks").decoder)
    assert all(name.startswith("up_blocks.") and ".resnets." in name for name in blocks)
    everywhere = installed_layers(TemporalDecoder(small_vae(), "convolutions").decoder)
    assert {"conv_in", "conv_out", "mid_block.attentions.0"} <= set(everywhere)
    with pytest.raises(UserError, match="layers is 'x'"):
        TemporalDecoder(small_vae(), "x")  # type: ignore[arg-type]


def test_the_kernel_is_a_convolution_that_starts_as_the_identity() -> None:
    clip = Clip()
    layer = TemporalKernel(6, clip)
    clip.frames = 5
    x = torch.randn(2 * 5, 6, 3, 4)
    assert torch.equal(layer(x), x)
    nn.init.normal_(layer.convolution.weight)
    nn.init.normal_(layer.convolution.bias)
    conv = nn.Conv3d(6, 6, (3, 1, 1), padding=(1, 0, 0))
    identity = torch.zeros_like(conv.weight)
    identity[range(6), range(6), 1] = 1
    conv.weight.data = layer.convolution.weight.detach()[..., None] + identity
    conv.bias.data = layer.convolution.bias.detach()  # type: ignore[union-attr]
    expected = conv(x.unflatten(0, (2, 5)).transpose(1, 2)).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("place", PLACES)
def test_frames_see_each_other_within_their_clip_alone(place: Place) -> None:
    decoder = loud(TemporalDecoder(small_vae(), place).eval())
    latents = torch.randn(2, 4, 4, 4, 4)
    other = latents.clone()
    other[0, 2] += 1
    with torch.no_grad():
        changed = (decoder(latents) - decoder(other)).abs().amax(dim=(2, 3, 4)) > 0
    assert changed[0].all() and not changed[1].any()


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 9))
def test_every_frame_is_decoded_once(frames: int, clip_frames: int, context: int) -> None:
    spans = list(Joins(clip_frames, context).spans(frames))
    kept = [frame for _, start, end in spans for frame in range(start, end)]
    assert kept == list(range(frames))
    assert all(start - first == min(context, start) for first, start, _ in spans)
    assert all(end - start <= clip_frames for _, start, end in spans)


@pytest.mark.parametrize("context", [0, 3])
def test_a_long_clip_is_decoded_in_parts_that_overlap(context: int) -> None:
    vae = small_vae()
    decoder = loud(TemporalDecoder(vae, "blocks").eval())
    autoencoder = VideoAutoencoder(vae, decoder, Joins(4, context))
    latents = torch.randn(1, 10, 4, 4, 4)
    whole = autoencoder.decode_clip(latents)
    expected = [pictures(decoder, latents[:, :4])]
    expected.append(pictures(decoder, latents[:, 4 - context : 8])[:, context:])
    expected.append(pictures(decoder, latents[:, 8 - context :])[:, context:])
    assert torch.equal(whole, torch.cat(expected, dim=1))
    # clip by clip, as they are generated, is the same
    parts, before = [], None
    for part in latents.split(4, dim=1):
        parts.append(autoencoder.decode_clip(part, before))
        before = part
    assert torch.equal(whole, torch.cat(parts, dim=1))


def pictures(decoder: TemporalDecoder, latents: Tensor) -> Tensor:
    with torch.no_grad():
        return ((decoder(latents).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def test_a_picture_is_a_clip_of_one_frame() -> None:
    vae = small_vae()
    decoder = loud(TemporalDecoder(vae, "blocks").eval())
    autoencoder = VideoAutoencoder(vae, decoder, Joins(4, 2))
    latents = torch.randn(3, 4, 4, 4)
    assert torch.equal(autoencoder.decode(latents), pictures(decoder, latents[:, None])[:, 0])


def test_an_image_decoder_decodes_clips_frame_by_frame() -> None:
    for autoencoder in (PixelUnshuffleAutoencoder(2), DiffusersAutoencoder(small_vae())):
        latents = torch.randn(2, 3, autoencoder.channels, 4, 4)
        made = autoencoder.decode_clip(latents, before=latents[:, :1])
        assert torch.equal(made[1], autoencoder.decode(latents[1]))
