"""Frames that are encoded once serve several targets and epochs: the same loss for less work."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from flat_artv import build
from make_system import MakeSystem
from torch.utils.flop_counter import FlopCounterMode

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import KLAutoencoder, PixelUnshuffleAutoencoder
from lightning_artv.networks.text_encoder import CLIPTextEncoder
from lightning_artv.networks.unet import PretrainedUNet
from lightning_artv.systems.artv import ARTV


@pytest.fixture(scope="module")
def system(sd_folder: Path) -> ARTV:
    torch.manual_seed(0)
    name = str(sd_folder)
    made = build(PretrainedUNet(name), KLAutoencoder(name), CLIPTextEncoder(name))
    for parameter in made.parameters():
        if parameter.requires_grad and parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


@pytest.fixture
def windows() -> VideoBatch:
    """Two windows of 16x16 pixels that serve two targets each."""
    g = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (2, 5, 3, 16, 16), dtype=torch.uint8, generator=g)
    choice = torch.tensor([[0, 2, 3, 4], [1, 0, 2, 4]]).expand(2, 2, 4)
    return VideoBatch(pixels, choice, ("a dog", "a cat"), ("k0", "k1"))


def stored(system: ARTV, batch: VideoBatch) -> VideoBatch:
    n, f = batch.frames.shape[:2]
    moments = system.autoencoder.store(batch.frames.flatten(0, 1)).unflatten(0, (n, f))
    return VideoBatch(moments, batch.choice, batch.captions, batch.keys)


def test_stored_moments_give_the_loss_of_online_encoding(system: ARTV, windows: VideoBatch) -> None:
    names = ["a", "b", "c", "d"]
    online = system.loss(windows, generators_for(0, names))
    latent = system.loss(stored(system, windows), generators_for(0, names))
    torch.testing.assert_close(latent.per_sample, online.per_sample, rtol=2e-3, atol=2e-3)
    assert torch.equal(latent.level, online.level)
    other = system.loss(windows, generators_for(1, names))
    assert (
        other.per_sample - online.per_sample
    ).abs().max() > 0.02  # the bound above says something


def test_roles_are_those_of_the_choice(make_system: MakeSystem, windows: VideoBatch) -> None:
    exact = make_system(condition_dropout=0.0, max_noise_level=0)
    y0, conditions, captions = exact.prepare(windows, generators_for(0, range(4)))
    encode = exact.autoencoder.encode
    assert captions == ("a dog", "a dog", "a cat", "a cat")
    for row, (window, roles) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        target, one, two, anchor = windows.choice[window, roles].tolist()
        frames = encode(windows.frames[window])
        assert torch.equal(y0[row], frames[target])
        assert torch.equal(conditions.y_ref[row], frames[one])
        assert torch.equal(conditions.references[row], frames[[one, two]])
        assert torch.equal(conditions.anchor[row], frames[anchor])


def test_a_windows_first_target_is_trained_on_as_if_alone(
    make_system: MakeSystem, windows: VideoBatch
) -> None:
    exact = make_system(opened=True)
    shared = exact.loss(windows, generators_for(0, ["k0", "x", "k1", "y"])).per_sample
    first = VideoBatch(windows.frames, windows.choice[:, :1], windows.captions, windows.keys)
    alone = exact.loss(first, generators_for(0, ["k0", "k1"])).per_sample
    torch.testing.assert_close(shared[::2], alone)


def test_every_target_has_noise_of_its_own(system: ARTV, windows: VideoBatch) -> None:
    output = system.loss(windows, generators_for(0, ["a", "b", "c", "d"]))
    assert len(set(output.level.tolist())) == 4
    assert output.per_sample.shape == (4,)


def test_work_a_target_falls_by_what_is_not_encoded(
    system: ARTV, windows: VideoBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dataclasses.replace(system.training_options, condition_dropout=0.0)
    monkeypatch.setattr(system, "training_options", options)  # a dropped text is one more to encode

    def cost(batch: VideoBatch) -> dict[str, float]:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            system.loss(batch, generators_for(0, range(len(batch))))
        counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
        parts = {
            "all": counts["Global"],
            "vae": counts.get("Encoder", 0) + counts.get("Conv2d", 0),  # and its quant_conv
            "text": counts["CLIPTextEncoder"],
        }
        return {name: count / len(batch) for name, count in parts.items()}

    roles = torch.arange(4).expand(2, 1, 4)
    one = cost(VideoBatch(windows.frames[:, :4], roles, windows.captions, windows.keys))
    shared, latent = cost(windows), cost(stored(system, windows))
    frame = one["vae"] / 4
    assert frame > 0
    assert shared["vae"] == pytest.approx(frame * 5 / 2)  # 5 frames serve 2 targets
    assert shared["text"] == pytest.approx(one["text"] / 2)
    assert latent["vae"] == 0
    assert latent["all"] == pytest.approx(shared["all"] - shared["vae"])


def test_stored_latents_come_back_as_pixels(make_system: MakeSystem) -> None:
    exact = make_system()
    g = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8, generator=g)
    assert torch.equal(exact.pixels(exact.autoencoder.store(pixels)), pixels)
    assert exact.pixels(pixels) is pixels


def test_latents_of_another_autoencoder_are_refused() -> None:
    stored = PixelUnshuffleAutoencoder(4).store(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(UserError, match="have 48 channels, but this autoencoder makes 12"):
        PixelUnshuffleAutoencoder(2).restore(stored)
