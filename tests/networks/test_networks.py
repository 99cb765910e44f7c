"""The networks: untouched prior, parameter counts, attention, adapters, autoencoders, text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lightning_artv.errors import CorruptWeightsError, MissingWeightsError
from lightning_artv.networks.autoencoder import KLAutoencoder, PixelUnshuffleAutoencoder
from lightning_artv.networks.pretrained import sha256_of
from lightning_artv.networks.text_encoder import ByteTextEncoder, CLIPTextEncoder
from lightning_artv.networks.unet import PretrainedUNet, SmallUNet, UNetSource
from lightning_artv.systems.artv.networks.anchor import AnchorEncoder, position_embedding_2d
from lightning_artv.systems.artv.networks.tokens import Tokens
from lightning_artv.systems.artv.networks.unet import ConditionedUNet

SD21_BASE = {
    "sample_size": 64,
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
}


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


class _MetaSource(UNetSource):
    def config(self) -> dict[str, object]:
        return SD21_BASE

    def build(self, latent_channels: int) -> UNet2DConditionModel:
        return self.build_scaled(latent_channels, latent_channels, 1.0)


def test_full_size_counts_are_those_of_sd21_and_its_adapter() -> None:
    with torch.device("meta"):
        counts = parameter_counts(ConditionedUNet.around(_MetaSource().build(4), 4))
    assert counts["unet"] == 865_910_724
    assert counts["adapter"] == 76_839_360
    assert counts["adapter_outputs"] == sum(c * c for c in (320, 640, 1280, 1280))


def test_mask_network_of_half_width_is_about_a_quarter_of_the_parameters() -> None:
    with torch.device("meta"):
        whole = parameter_counts(ConditionedUNet.around(_MetaSource().build(4), 4))["unet"]
        half = parameter_counts(ConditionedUNet.around(_MetaSource().build_scaled(4, 1, 0.5), 4))[
            "unet"
        ]
    assert 0.24 < half / whole < 0.32


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (16, 24)])
def test_untrained_network_equals_the_plain_unet(sd_folder: Path, size: tuple[int, int]) -> None:
    plain = UNet2DConditionModel.from_pretrained(sd_folder, subfolder="unet")
    network = ConditionedUNet.around(PretrainedUNet(str(sd_folder)).build(4), 4, trained=True)
    y, text = torch.randn(2, 4, *size), torch.randn(2, 7, 32)
    t, level = torch.tensor([10, 900]), torch.tensor([0, 500])
    encoded = network.encode(torch.randn(2, 2, 4, *size), torch.randn(2, 4, *size), text, level)
    with torch.no_grad():
        difference = network(y, t, encoded) - plain(y, t, text).sample
    assert difference.abs().max() < 1e-5


@pytest.mark.parametrize("part", ["references", "anchor", "noise_level", "text"])
def test_every_condition_reaches_the_output_once_its_gate_opens(part: str) -> None:
    torch.manual_seed(0)
    network = ConditionedUNet.around(SmallUNet((16, 32), text_width=16, norm_groups=8).build(4), 4)
    for name, parameter in network.named_parameters():
        if parameter.abs().max() == 0 and "bias" not in name:
            torch.nn.init.normal_(parameter, std=0.5)
    inputs = {
        "references": torch.randn(2, 2, 4, 8, 8),
        "anchor": torch.randn(2, 4, 8, 8),
        "text": torch.randn(2, 5, 16),
        "noise_level": torch.tensor([3, 200]),
    }
    changed = {**inputs, part: torch.tensor([400, 50]) if part == "noise_level" else -inputs[part]}
    y, t = torch.randn(2, 4, 8, 8), torch.tensor([5, 6])
    with torch.no_grad():
        a, b = (network(y, t, network.encode(**x)) for x in (inputs, changed))
    assert (a - b).abs().max() > 1e-4


def test_a_network_with_random_weights_predicts_zero_but_hears_its_references() -> None:
    network = ConditionedUNet.around(SmallUNet((16, 32), text_width=16, norm_groups=8).build(4), 4)
    references = torch.randn(2, 2, 4, 8, 8)
    encoded = network.encode(
        references, torch.randn(2, 4, 8, 8), torch.randn(2, 5, 16), torch.tensor([1, 2])
    )
    with torch.no_grad():
        output = network(torch.randn(2, 4, 8, 8), torch.tensor([5, 6]), encoded)
    assert output.abs().max() == network.unet.conv_out.bias.abs().max()
    assert all(0.3 < feature.std() < 10 for feature in encoded.features)


def test_new_parts_of_a_trained_network_receive_a_gradient_from_the_first_step() -> None:
    unet = SmallUNet((16, 32), text_width=16, norm_groups=8).build(4)
    network = ConditionedUNet.around(unet, 4, trained=True)
    encoded = network.encode(
        torch.randn(2, 2, 4, 8, 8),
        torch.randn(2, 4, 8, 8),
        torch.randn(2, 5, 16),
        torch.tensor([1, 2]),
    )
    network(torch.randn(2, 4, 8, 8), torch.tensor([5, 6]), encoded).square().mean().backward()
    new = list(network.adapter.outputs.parameters())
    new += [p for n, p in network.named_parameters() if "to_v_anchor" in n]
    new += [network.unet.class_embedding.linear_2.weight]
    assert len(new) > 5
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in new)


def test_decoupled_attention_is_the_sum_of_two_plain_attentions() -> None:
    network = ConditionedUNet.around(SmallUNet((16, 32), text_width=16, norm_groups=8).build(4), 4)
    attention = network.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    processor = attention.processor
    torch.nn.init.normal_(processor.to_v_anchor.weight)
    x, text, anchor = torch.randn(2, 6, 16), torch.randn(2, 5, 16), torch.randn(2, 9, 16)

    def attend(k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q = attention.to_q(x)
        rows = []
        for h in range(attention.heads):
            s = slice(h * 8, (h + 1) * 8)
            weights = (q[..., s] @ k[..., s].transpose(1, 2) / 8**0.5).softmax(-1)
            rows.append(weights @ v[..., s])
        return torch.cat(rows, -1)

    expected = attention.to_out[0](
        attend(attention.to_k(text), attention.to_v(text))
        + attend(processor.to_k_anchor(anchor), processor.to_v_anchor(anchor))
    )
    torch.testing.assert_close(attention(x, text, anchor=Tokens(anchor)), expected)


def test_positions_differ_everywhere_and_prefix_at_other_resolutions() -> None:
    small, large = (position_embedding_2d(n, n, 32, torch.device("cpu")) for n in (4, 7))
    assert torch.cdist(large, large).add(torch.eye(49) * 9).min() > 0.1
    torch.testing.assert_close(small.reshape(4, 4, 32), large.reshape(7, 7, 32)[:4, :4])
    with pytest.raises(ValueError, match="divisible by 4"):
        position_embedding_2d(2, 2, 30, torch.device("cpu"))


def test_anchor_tokens_cover_frames_that_the_patch_does_not_divide() -> None:
    assert AnchorEncoder(4, 16, 2)(torch.randn(2, 4, 5, 7)).shape == (2, 3 * 4, 16)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_pixel_unshuffle_is_lossless(factor: int, h: int, w: int) -> None:
    pixels = torch.randint(0, 256, (2, 3, h * factor, w * factor), dtype=torch.uint8)
    codec = PixelUnshuffleAutoencoder(factor)
    latents = codec.encode(pixels)
    assert latents.shape == (2, codec.channels, h, w)
    assert latents.abs().max() <= 1
    assert torch.equal(codec.decode(latents), pixels)


def test_autoencoder_refuses_wrong_input() -> None:
    codec = PixelUnshuffleAutoencoder(2)
    with pytest.raises(ValueError, match="uint8"):
        codec.encode(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="not divisible by 2"):
        codec.encode(torch.zeros(1, 3, 5, 4, dtype=torch.uint8))


def test_kl_autoencoder_equals_diffusers(sd_folder: Path) -> None:
    codec = KLAutoencoder(str(sd_folder), batch=2)
    pixels = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    images = pixels.float() / 127.5 - 1
    noise = torch.randn(3, 4, 8, 8)
    with torch.no_grad():
        posterior = codec.vae.encode(images).latent_dist
        expected = 0.18215 * (posterior.mean + posterior.std * noise)
        decoded = codec.vae.decode(expected / 0.18215).sample
    torch.testing.assert_close(codec.encode(pixels, noise), expected)
    torch.testing.assert_close(codec.encode(pixels), 0.18215 * posterior.mean)
    again = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round()
    assert (codec.decode(expected).float() - again).abs().max() <= 1
    assert not any(p.requires_grad for p in codec.train().parameters())
    assert codec.factor == 2 and not codec.vae.training


def test_clip_text_encoder_equals_transformers_and_says_once_that_it_cut(sd_folder: Path) -> None:
    encoder = CLIPTextEncoder(str(sd_folder))
    ids = encoder.tokenizer(["a dog"], padding="max_length", max_length=77, return_tensors="pt")
    torch.testing.assert_close(encoder(["a dog"]), encoder.model(ids.input_ids).last_hidden_state)
    with pytest.warns(UserWarning, match=r"longer than the text encoder takes \(77 tokens\)"):
        encoder(["word " * 90])
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert encoder(["word " * 90]).shape == (1, 77, 32)


@given(st.lists(st.text(max_size=300), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
@pytest.mark.filterwarnings("ignore:A caption is longer")
def test_byte_text_encoder_takes_any_text(captions: list[str]) -> None:
    encoder = ByteTextEncoder(16)
    tokens = encoder(captions)
    assert tokens.shape == (len(captions), 24, 16)
    assert tokens.isfinite().all()
    torch.testing.assert_close(tokens[:1], encoder(captions[:1]), rtol=1e-4, atol=1e-5)


def test_byte_text_encoder_tells_words_and_their_order_apart() -> None:
    encoder = ByteTextEncoder(32)
    with torch.no_grad():
        a, b, c, d = encoder(["left of red", "red of left", "left of red", " left  of red "])
    torch.testing.assert_close(a, c)
    torch.testing.assert_close(a, d)
    assert (a - b).abs().max() > 0.05
    with pytest.warns(UserWarning, match="24 words"):
        encoder(["w " * 30])


def test_missing_and_damaged_weights_are_one_sentence(sd_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="does not exist"):
        PretrainedUNet(str(tmp_path / "nowhere")).build(4)
    with pytest.raises(MissingWeightsError, match="no subfolder unet"):
        PretrainedUNet(str(tmp_path)).build(4)
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(MissingWeightsError, match="safetensors"):
        PretrainedUNet(str(tmp_path)).build(4)
    weights = sd_folder / "unet" / "diffusion_pytorch_model.safetensors"
    PretrainedUNet(str(sd_folder), sha256=sha256_of(weights)).build(4)
    with pytest.raises(CorruptWeightsError, match="sha256"):
        PretrainedUNet(str(sd_folder), sha256="0" * 64).build(4)
    (tmp_path / "unet" / "config.json").write_text((sd_folder / "unet/config.json").read_text())
    damaged = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    damaged.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(CorruptWeightsError, match="download it again"):
        PretrainedUNet(str(tmp_path)).build(4)
