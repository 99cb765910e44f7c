"""VideoGen's stages: what they start as, what they are shown, their loss and windows."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from videogen_parts import KEYS, SIZE, clips, small_base, small_cascade, watch

from lightning_artv.batch import VideoBatch
from lightning_artv.checkpoints.file import take_weights
from lightning_artv.diffusion.noise import generators_for, randint, randn
from lightning_artv.diffusion.schedule import NoiseSchedule
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import KLAutoencoder, PixelUnshuffleAutoencoder
from lightning_artv.networks.clip_unet import ClipUNet
from lightning_artv.networks.text_encoder import CLIPTextEncoder
from lightning_artv.networks.unet import PretrainedUNet, SmallUNet, widen_input
from lightning_artv.systems.videogen import Base
from lightning_artv.systems.videogen.cascade import Sharpener, doubled, in_first_frame, resized
from lightning_artv.systems.videogen.denoiser import (
    DenoiserOptions,
    StageConditions,
    StageDenoiser,
    add_numbers,
    build_denoiser,
)
from lightning_artv.systems.videogen.settings import StageTraining
from lightning_artv.systems.videogen.windows import SpacedFrames

SD_21 = {
    "sample_size": 64,
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}


# What they start as


@pytest.mark.parametrize("frames", [1, 5, 16])
def test_the_untrained_base_is_the_image_model_on_each_frame(frames: int, sd_folder: Path) -> None:
    torch.manual_seed(0)
    unet = PretrainedUNet(str(sd_folder))
    denoiser = build_denoiser(unet, 4, 32, DenoiserOptions(), is_base=True).eval()
    theirs = UNet2DConditionModel.from_pretrained(sd_folder, subfolder="unet", use_safetensors=True)
    z_t, t = torch.randn(2, frames, 4, 8, 8), torch.tensor([800, 10])
    text = torch.randn(2, 7, 32)
    for fps, reference in ((8.0, torch.zeros(2, 4, 8, 8)), (29.97, torch.randn(2, 4, 8, 8))):
        conditions = StageConditions(text, torch.full((2,), fps), reference)
        with torch.no_grad():
            eps = theirs(
                z_t.flatten(0, 1), t.repeat_interleave(frames), text.repeat_interleave(frames, 0)
            ).sample.unflatten(0, (2, frames))
            clean = denoiser.denoise(z_t, t, conditions).clean
        signal, noise = (
            f(t)[:, None, None, None, None]
            for f in (denoiser.schedule.signal, denoiser.schedule.noise)
        )
        assert torch.equal(clean, (z_t - noise * eps) / signal)


def test_layers_at_full_size_are_the_papers() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD_21)
        of_images = sum(p.numel() for p in unet.parameters())
        widen_input(unet, 4, silent=False)
        network = ClipUNet.around(unet, every="conv")
    temporal = {n: p.numel() for n, p in network.named_parameters() if ".temporal." in n}
    convolutions = [n for n in temporal if n.endswith(".temporal.convolution.weight")]
    conv = sum(c for n, c in temporal.items() if ".temporal.convolution." in n)
    attention = sum(temporal.values()) - conv
    assert (len(convolutions), round(conv / 1e6, 1), round(attention / 1e6, 1)) == (52, 151.2, 49.6)
    total = sum(p.numel() for p in network.parameters())
    assert total == of_images + conv + attention + 4 * 9 * 320
    assert round(total / 1e6, 1) == 1066.7
    with torch.device("meta"):
        add_numbers(unet, 1, silent=False)
    assert unet.class_embedding.linear_1.in_features == 320


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_cascade_stage_starts_as_the_stage_before(kind: str) -> None:
    torch.manual_seed(0)
    base = small_base(prediction_type=kind)
    upper = small_cascade(1)
    upper.denoiser.prediction_type = kind
    stored = dict(base.named_parameters())
    said = take_weights(upper, stored, "base.ckpt")
    assert said.startswith("Starting from")
    z_t, t = torch.randn(2, 4, 12, 8, 8), torch.tensor([700, 3])
    text, reference = torch.randn(2, 5, 16), torch.randn(2, 12, 8, 8)
    fps = torch.tensor([8.0, 15.0])
    conditions = StageConditions(text, fps, reference)
    level, lower = torch.tensor([0, 40]), torch.randn(2, 4, 12, 8, 8)
    more = StageConditions(text, fps, reference, lower, level)
    with torch.no_grad():
        one = base.denoiser.denoise(z_t, t, conditions).clean
        other = upper.denoiser.denoise(z_t, t, more).clean
    torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)
    assert (upper.denoiser.network.unet.conv_in.weight[:, 24:] == 0).all()


def test_another_width_is_no_start() -> None:
    base, upper = small_base(), small_cascade(1)
    stored = {n: p for n, p in base.named_parameters()}
    name = "denoiser.network.unet.conv_out.weight"
    stored[name] = torch.zeros(12, 8, 3, 3)
    with pytest.raises(UserError, match=rf"another architecture.*'{name}' is"):
        take_weights(upper, stored, "base.ckpt")
    with pytest.raises(UserError, match="another architecture"):
        take_weights(base, dict(upper.named_parameters()), "upper.ckpt")


# What they are shown


def test_the_reference_is_in_the_first_frames_channels_alone() -> None:
    base = small_base(StageTraining(0, 0))
    network, batch = watch(base), clips()
    base.loss(batch, generators_for(0, KEYS))
    ((z, t, _, labels),) = network.shown
    latents = base.autoencoder.encode(batch.frames.flatten(0, 1)).unflatten(0, (3, 4))
    assert z.shape == (3, 4, 24, 4, 4) and t.shape == (3, 4)
    assert torch.equal(z[:, 0, 12:], latents[:, 0])
    assert (z[:, 1:, 12:] == 0).all()
    assert labels.shape == (3, 4, 16)
    assert (labels[0] != labels[1]).any() and torch.equal(labels[:, 0], labels[:, 3])


def test_the_reference_is_in_all_frames_where_asked_and_frames_are_numbered() -> None:
    base = small_base(StageTraining(0, 0), reference="all", tells_frame=True)
    network, batch = watch(base), clips()
    base.loss(batch, generators_for(0, KEYS))
    ((z, _, _, labels),) = network.shown
    first = base.autoencoder.encode(batch.frames[:, 0])
    assert all(torch.equal(z[:, i, 12:], first) for i in range(4))
    assert labels.shape == (3, 4, 32)
    assert all((labels[:, i, 16:] != labels[:, 0, 16:]).any() for i in range(1, 4))


def test_a_cascade_stage_is_shown_the_stage_before_doubled() -> None:
    upper = small_cascade(1, training=StageTraining(0, 0, most_noise=0))
    network, batch = watch(upper), clips(size=2 * SIZE)
    upper.loss(batch, generators_for(0, KEYS))
    z = network.shown[0][0]
    assert z.shape == (3, 4, 36, 8, 8)
    small = F.interpolate(
        batch.frames.flatten(0, 1).float(), (8, 8), mode="bilinear", antialias=True
    )
    picture = small.round() / 127.5 - 1
    large = F.interpolate(picture, (16, 16), mode="bilinear", align_corners=False)
    expected = F.pixel_unshuffle(large, 2).unflatten(0, (3, 4))
    torch.testing.assert_close(z[:, :, 24:], expected)
    assert torch.equal(
        z[:, :, 12:24], in_first_frame(upper.autoencoder.encode(batch.frames[:, 0]), 4)
    )


def test_noise_on_the_stage_before_is_drawn_up_to_a_level_and_told() -> None:
    upper = small_cascade(1, training=StageTraining(0, 0, most_noise=200))
    network, batch = watch(upper), clips(size=2 * SIZE)
    upper.loss(batch, generators_for(0, KEYS))
    shown, labels = network.shown[0][0][:, :, 24:], network.shown[0][3]
    clean = doubled(upper.autoencoder, upper.lower_of(batch))
    off = (shown - clean).flatten(1).std(dim=1)
    assert (off > 0.01).all() and (off < 0.6).all()
    assert labels.shape == (3, 4, 32) and (labels[0, 0, 16:] != labels[1, 0, 16:]).any()


def test_pixels_are_doubled_where_asked() -> None:
    autoencoder = PixelUnshuffleAutoencoder(2)
    pixels = clips(1).frames[0]
    lower = autoencoder.encode(pixels)[None]
    twice = autoencoder.encode(resized(pixels, (16, 16)))
    assert torch.equal(doubled(autoencoder, lower, "pixels")[0], twice)
    torch.testing.assert_close(doubled(autoencoder, lower)[0], twice, atol=1 / 127, rtol=0)


def test_what_sharpens_the_stage_before_adds_nothing_at_first_and_trains_with_the_stage() -> None:
    batch = clips(size=2 * SIZE)
    training = StageTraining(0, 0, "sample", most_noise=0)
    upper, plain = small_cascade(1, upsampling="learned", training=training), small_cascade(1)
    assert isinstance(upper.sharpener, Sharpener) and plain.sharpener is None
    nn.init.zeros_(upper.sharpener.layers[-1].weight)  # `loud` has changed it
    nn.init.zeros_(upper.sharpener.layers[-1].bias)
    lower = upper.lower_of(batch)
    assert torch.equal(upper.doubled(lower), plain.doubled(lower))
    upper.denoiser.prediction_type = "residual"
    with torch.no_grad():
        upper.denoiser.network.unet.conv_out.weight.zero_()
        upper.denoiser.network.unet.conv_out.bias.zero_()
    optimizer = torch.optim.SGD(upper.sharpener.parameters(), 0.02)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = upper.loss(batch, generators_for(0, KEYS)).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[1] < losses[0]
    names = set(upper.trainable_parameters()) - set(plain.trainable_parameters())
    assert names and all(name.startswith("sharpener.") for name in names)
    assert upper.sharpener in upper.shard_units()
    assert upper.sharpener.channels == 3  # pixels, however they are folded


def test_text_and_reference_are_dropped_as_often_as_asked() -> None:
    base, count = small_base(StageTraining(0.3, 0.6)), 200
    keys = [f"s{i}" for i in range(count)]
    frames = clips(1).frames.expand(count, -1, -1, -1, -1)
    choice = torch.arange(4).expand(count, 1, 4)
    network = watch(base)
    base.loss(VideoBatch(frames, choice, ("a dog",) * count, tuple(keys)), generators_for(0, keys))
    z, _, text, _ = network.shown[0]
    untold = base.text_encoder([""])
    assert 0.2 < (text == untold).all(dim=(1, 2)).float().mean() < 0.4
    assert 0.5 < (z[:, 0, 12:] == 0).all(dim=(1, 2, 3)).float().mean() < 0.7


# The loss


def test_the_loss_is_the_squared_error_of_the_noise() -> None:
    base, batch = small_base(StageTraining(0, 0)), clips()
    output = base.loss(batch, generators_for(0, KEYS))
    generators, schedule = generators_for(0, KEYS), base.denoiser.schedule
    z0 = base.autoencoder.encode(batch.frames.flatten(0, 1)).unflatten(0, (3, 4))
    randn(generators, z0.shape[1:])  # of the autoencoder's sample
    t = randint(generators, 0, 1000)
    eps = randn(generators, z0.shape[1:])
    text = base.text_encoder(["a", "b", "c"])
    z_t = schedule.add_noise(z0, eps, t)
    shown = torch.cat([z_t, in_first_frame(z0[:, 0], 4)], dim=2)
    rate = torch.tensor([4.0, 5.0, 6.0])
    labels = base.denoiser._numbers(StageConditions(text, rate, z0[:, 0]), 4)
    with torch.no_grad():
        made = base.denoiser.network(shown, t[:, None].expand(3, 4), text, labels)
    expected = (made - eps).square().flatten(1).mean(dim=1)
    torch.testing.assert_close(output.per_sample, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(output.loss, expected.mean(), rtol=1e-3, atol=1e-5)


def test_a_samples_loss_does_not_depend_on_its_batch_mates() -> None:
    training = StageTraining(0.5, 0.5, from_noise=0.5)
    for system, size in (
        (small_base(training), SIZE),
        (small_cascade(training=training), 2 * SIZE),
    ):
        together = system.loss(clips(size=size), generators_for(3, KEYS)).per_sample
        for i in range(3):
            alone = system.loss(clips(size=size)[i : i + 1], generators_for(3, KEYS[i : i + 1]))
            torch.testing.assert_close(alone.per_sample[0], together[i], rtol=1e-4, atol=1e-5)


def test_samples_from_noise_are_at_the_last_step() -> None:
    keys = [f"s{i}" for i in range(100)]
    base = small_base(StageTraining(from_noise=0.6))
    network = watch(base)
    frames = clips(1).frames.expand(100, -1, -1, -1, -1)
    choice = torch.arange(4).expand(100, 1, 4)
    base.loss(VideoBatch(frames, choice, ("",) * 100, tuple(keys)), generators_for(0, keys))
    assert 0.4 < (network.shown[0][1][:, 0] == 999).float().mean() < 0.8


def test_clips_of_another_length_are_refused() -> None:
    with pytest.raises(UserError, match="clips have 6 frames but the system's 4"):
        small_base().loss(clips(frames=6), generators_for(0, KEYS))


def test_stored_latents_train_the_base_and_not_the_cascade() -> None:
    base, batch = small_base(), clips()
    stored = base.autoencoder.store(batch.frames.flatten(0, 1)).unflatten(0, (3, 4))
    latents = VideoBatch(stored, batch.choice, batch.captions, batch.keys, batch.rates)
    losses = [base.loss(b, generators_for(0, KEYS)).per_sample for b in (batch, latents)]
    torch.testing.assert_close(*losses, rtol=1e-2, atol=1e-3)
    with pytest.raises(UserError, match="reads its clips at two sizes"):
        small_cascade().loss(latents, generators_for(0, KEYS))


def test_all_weights_of_stable_diffusion_train_and_none_of_the_frozen_parts(
    sd_folder: Path,
) -> None:
    folder = str(sd_folder)
    torch.manual_seed(0)
    system = Base.build(
        PretrainedUNet(folder),
        KLAutoencoder(folder),
        CLIPTextEncoder(folder),
        DenoiserOptions(clip_frames=4),
    ).train()
    before = {n: p.detach().clone() for n, p in system.named_parameters()}
    optimizer = torch.optim.AdamW(system.trainable_parameters().values(), 1e-3)
    system.loss(clips(size=16), generators_for(0, KEYS)).loss.backward()
    optimizer.step()
    moved = {n for n, p in system.named_parameters() if not torch.equal(p, before[n])}
    assert all(n.startswith("denoiser.") for n in moved)
    silent = (".temporal.attention.to_", ".temporal.norm.", "class_embedding.linear_1.")
    assert all(
        n in moved or any(part in n for part in silent)  # behind a layer that is zero at first
        for n in before
        if n.startswith("denoiser.")
    )
    units = {p for unit in system.shard_units() for p in unit.parameters()}
    assert set(system.trainable_parameters().values()) <= units


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: small_base(clip_frames=0), "clip_frames must be"),
        (lambda: small_base(prediction_type="x"), "choose epsilon, v_prediction or residual"),
        (lambda: small_base(reference="last"), "choose first or all"),
        (lambda: small_cascade(0), "doublings must be"),
        (lambda: small_cascade(1, upsampling="x"), "choose latents, pixels or learned"),
        (lambda: StageTraining(text_dropout=2), "text_dropout must be"),
        (
            lambda: build_denoiser(
                SmallUNet((16, 32), text_width=16, norm_groups=8), 4, 8, DenoiserOptions(), True
            ),
            "tokens of width 8 but the U-Net reads 16",
        ),
    ],
)
def test_what_cannot_be_built_is_one_sentence(make, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make()


def test_a_residual_is_added_to_the_reference_or_the_stage_before() -> None:
    schedule = NoiseSchedule.cosine()
    base, upper = small_base(prediction_type="residual"), small_cascade()
    for system, lower in ((base, None), (upper, torch.randn(1, 4, 12, 4, 4))):
        network = watch(system)
        denoiser = StageDenoiser(network, schedule, "residual", 4)  # type: ignore[arg-type]
        level = None if lower is None else torch.tensor([0])
        reference = torch.randn(1, 12, 4, 4)
        shown = StageConditions(torch.randn(1, 2, 16), torch.ones(1), reference, lower, level)
        clean = denoiser.denoise(torch.randn(1, 4, 12, 4, 4), torch.tensor([500]), shown).clean
        wanted = reference[:, None].expand(-1, 4, -1, -1, -1) if lower is None else lower
        assert torch.equal(clean, wanted)


# Windows


@given(
    frames=st.integers(1, 20),
    closest=st.floats(1, 3),
    more=st.floats(0, 6),
    room=st.integers(0, 60),
    seed=st.integers(0, 99),
)
def test_frames_are_evenly_spaced_within_the_clip(
    frames: int, closest: float, more: float, room: int, seed: int
) -> None:
    rule = SpacedFrames(frames, closest, closest + more)
    count = rule.least + room
    window = rule.choose(count, random.Random(seed))
    assert len(window.frames) == frames and window.frames[0] >= 0 and window.frames[-1] < count
    assert closest - 1e-9 <= window.spacing <= closest + more + 1e-9
    for index, frame in enumerate(window.frames):
        assert abs(frame - window.frames[0] - index * window.spacing) <= 0.5 + 1e-9
    assert window.choice == (tuple(range(frames)),)


def test_rates_are_drawn_evenly() -> None:
    rule, rng = SpacedFrames(16, 1, 15), random.Random(0)
    rates = [30 / rule.choose(400, rng).spacing for _ in range(2000)]
    counts = torch.histc(torch.tensor(rates), 4, 2, 30)
    assert min(rates) < 2.5 and max(rates) > 29.5 and (counts > 400).all()


def test_a_short_clip_has_fast_rates_only() -> None:
    rule, rng = SpacedFrames(16, 1, 15), random.Random(0)
    assert rule.least == 16
    assert all(rule.choose(16, rng).spacing == 1 for _ in range(20))
