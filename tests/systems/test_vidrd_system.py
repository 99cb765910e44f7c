"""VidRD's windows, loss and parts that are trained."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import given
from hypothesis import strategies as st
from vidrd_parts import PLAIN, Mixing, clips, small_vidrd, transparent

from lightning_artv.batch import VideoBatch
from lightning_artv.data.windows import ConsecutiveFrames
from lightning_artv.diffusion.noise import generators_for, rand, randint, randn
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import KLAutoencoder, PixelUnshuffleAutoencoder
from lightning_artv.networks.text_encoder import ByteTextEncoder, CLIPTextEncoder
from lightning_artv.networks.unet import PretrainedUNet, SmallUNet
from lightning_artv.systems.vidrd import VidRD
from lightning_artv.systems.vidrd.denoiser import DenoiserOptions, Prediction, VidRDDenoiser
from lightning_artv.systems.vidrd.settings import VidRDTraining

KEYS = ("k0", "k1", "k2")


@given(frames=st.integers(1, 20), more=st.integers(0, 50), seed=st.integers(0, 99))
def test_a_window_is_consecutive_frames_of_the_clip(frames: int, more: int, seed: int) -> None:
    window = ConsecutiveFrames(frames).choose(frames + more, random.Random(seed))
    first = window.frames[0]
    assert window.frames == tuple(range(first, first + frames))
    assert 0 <= first <= more
    assert window.choice == (tuple(range(frames)),)


def test_every_start_is_drawn() -> None:
    rng, windows = random.Random(0), ConsecutiveFrames(8)
    assert {windows.choose(11, rng).frames[0] for _ in range(100)} == {0, 1, 2, 3}
    assert windows.least == 8 and windows.for_evaluation() == windows


def test_no_frames_are_no_window() -> None:
    with pytest.raises(UserError, match="number of frames must be a whole number from 1"):
        ConsecutiveFrames(0)


def by_hand(batch: VideoBatch, weighting: str) -> torch.Tensor:
    """Eq. 3 of `transparent` a sample and a frame at a time."""
    schedule, network, generators = (
        transparent().denoiser.schedule,
        Mixing(),
        generators_for(0, KEYS),
    )
    z0 = batch.frames[:, :, :2].float() / 127.5 - 1
    randn(generators, z0.shape[1:])  # of the autoencoder's sample
    t, eps = randint(generators, 0, 1000), randn(generators, z0.shape[1:])
    losses = []
    for i in range(len(z0)):
        signal, noise = schedule.signal(t[i]), schedule.noise(t[i])
        z_t = (signal * z0[i] + noise * eps[i])[None]
        made = network(z_t, t[i].expand(1, 8), torch.empty(0))[0]
        if weighting == "epsilon":
            losses.append((made - eps[i]).square().mean())
        else:
            losses.append(((z_t[0] - noise * made) / signal - z0[i]).square().mean())
    return torch.stack(losses)


@pytest.mark.parametrize("weighting", ["epsilon", "sample"])
def test_the_loss_is_the_squared_error_of_the_noise(weighting: str) -> None:
    training = VidRDTraining(loss_weighting=weighting)  # type: ignore[arg-type]
    output = transparent(training=training).loss(clips(size=4), generators_for(0, KEYS))
    expected = by_hand(clips(size=4), weighting)
    torch.testing.assert_close(output.per_sample, expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(output.loss, expected.mean(), rtol=1e-3, atol=1e-6)
    assert output.level is not None and ((output.level >= 0) & (output.level < 1)).all()


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_a_velocity_or_the_clean_clip_is_learned_where_asked(prediction: Prediction) -> None:
    """A network that answers it truly has no loss, whatever the weighting."""
    batch, generators = clips(1, size=4), generators_for(0, ["k0"])
    z0 = batch.frames[:, :, :2].float() / 127.5 - 1
    randn(generators, z0.shape[1:])
    t, eps = randint(generators, 0, 1000), randn(generators, z0.shape[1:])
    schedule = transparent().denoiser.schedule
    velocity = schedule.signal(t) * eps - schedule.noise(t) * z0
    answer = velocity if prediction == "v_prediction" else z0
    network = torch.nn.Identity()
    network.forward = lambda z_t, t, text: answer  # type: ignore[assignment]
    denoiser = VidRDDenoiser(network, schedule, prediction)  # type: ignore[arg-type]
    assert transparent(denoiser).loss(batch, generators_for(0, ["k0"])).loss < 1e-6


def test_samples_from_noise_are_at_the_last_step() -> None:
    system, probe = probed(VidRDTraining(from_noise=0.6))
    keys = [f"s{i}" for i in range(100)]
    frames = clips(1, size=4).frames.expand(100, -1, -1, -1, -1)
    choice = torch.arange(8).expand(100, 1, 8)
    system.loss(VideoBatch(frames, choice, ("",) * 100, tuple(keys)), generators_for(0, keys))
    assert 0.4 < (probe.shown[1][:, 0] == 999).float().mean() < 0.8


def test_a_samples_loss_does_not_depend_on_its_batch_mates() -> None:
    system = small_vidrd(VidRDTraining(text_dropout=0.5, given_frames=0.5))
    together = system.loss(clips(), generators_for(3, KEYS)).per_sample
    for i in range(3):
        alone = system.loss(clips()[i : i + 1], generators_for(3, KEYS[i : i + 1])).per_sample
        torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-5)


class Probe(Mixing):
    """`Mixing` that keeps what it was shown, and is wrong by 1 in the frames that it should not
    be asked for.
    """

    def forward(self, z_t: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        self.shown = (z_t.detach().clone(), t.clone(), text.clone())
        return super().forward(z_t, t, text)


def probed(training: VidRDTraining) -> tuple[VidRD, Probe]:
    system, probe = transparent(training=training), Probe()
    system.denoiser.network = probe  # type: ignore[assignment]
    return system, probe


def test_given_frames_are_clean_at_step_0_and_have_no_loss() -> None:
    system, probe = probed(VidRDTraining(given_frames=0.6, most_given=3))
    plain, _ = probed(VidRDTraining())
    count = 60
    keys = [f"s{i}" for i in range(count)]
    batch = VideoBatch(
        clips(1, size=4).frames.expand(count, -1, -1, -1, -1),
        torch.arange(8).expand(count, 1, 8),
        ("a",) * count,
        tuple(keys),
    )
    output = system.loss(batch, generators_for(0, keys))
    z_t, t, _ = probe.shown
    given_frames = (t == 0).sum(dim=1)
    assert set(given_frames.tolist()) == {0, 1, 2, 3}
    assert 0.4 < (given_frames > 0).float().mean() < 0.8
    z0 = batch.frames[:, :, :2].float() / 127.5 - 1
    for i in range(count):
        k = int(given_frames[i])
        assert torch.equal(z_t[i, :k], z0[i, :k])
        assert (t[i, k:] == t[i, 7]).all()
    eps_all = generators_for(0, keys)
    randn(eps_all, z0.shape[1:])
    randint(eps_all, 0, 1000)
    eps = randn(eps_all, z0.shape[1:])
    errors = (Mixing()(z_t, t, torch.empty(0)) - eps).square().mean(dim=(2, 3, 4))
    free = t > 0
    expected = (errors * free).sum(dim=1) / free.sum(dim=1)
    torch.testing.assert_close(output.per_sample, expected, rtol=1e-2, atol=1e-5)
    without = given_frames == 0
    unconditional = plain.loss(batch, generators_for(0, keys)).per_sample
    torch.testing.assert_close(output.per_sample[without], unconditional[without])


def test_text_is_dropped_as_often_as_asked() -> None:
    system, probe = probed(VidRDTraining(text_dropout=0.3))
    count = 200
    keys = [f"s{i}" for i in range(count)]
    frames = clips(1, size=4).frames.expand(count, -1, -1, -1, -1)
    choice = torch.arange(8).expand(count, 1, 8)
    system.loss(
        VideoBatch(frames, choice, ("a dog",) * count, tuple(keys)), generators_for(0, keys)
    )
    untold = system.text_encoder([""])
    dropped = (probe.shown[2] == untold).all(dim=(1, 2))
    expected = [float(rand([g], (3,))[0, 0]) < 0.3 for g in after_noise(keys)]
    assert dropped.tolist() == expected and 0.2 < dropped.float().mean() < 0.4


def after_noise(keys: list[str]) -> list[torch.Generator]:
    """The samples' generators after latents, step and noise are drawn."""
    generators = generators_for(0, keys)
    randn(generators, (8, 2, 4, 4))
    randint(generators, 0, 1000)
    randn(generators, (8, 2, 4, 4))
    return generators


def test_clips_of_another_length_than_the_systems_are_refused() -> None:
    with pytest.raises(UserError, match="clips have 6 frames but the system's 8"):
        small_vidrd().loss(clips(frames=6), generators_for(0, KEYS))


def test_stored_latents_train_as_pixels_do() -> None:
    system, batch = small_vidrd(), clips()
    stored = system.autoencoder.store(batch.frames.flatten(0, 1)).unflatten(0, (3, 8))
    latents = replace(batch, frames=stored)
    losses = [system.loss(b, generators_for(0, KEYS)).per_sample for b in (batch, latents)]
    torch.testing.assert_close(*losses, rtol=1e-2, atol=1e-3)
    assert torch.equal(system.pixels(stored[0]), batch.frames[0])
    assert system.frame_size(latents) == (16, 16)


def test_shard_units_hold_all_that_is_trained(sd_folder: Path) -> None:
    for system in (small_vidrd(), of_stable_diffusion(sd_folder)):
        units = {p for unit in system.shard_units() for p in unit.parameters()}
        assert set(system.trainable_parameters().values()) <= units
        blocks = {p for block in system.blocks() for p in block.parameters()}
        assert blocks < units


def of_stable_diffusion(folder: Path, **denoiser: object) -> VidRD:
    torch.manual_seed(0)
    return VidRD.build(
        PretrainedUNet(str(folder)),
        KLAutoencoder(str(folder)),
        CLIPTextEncoder(str(folder)),
        DenoiserOptions(**denoiser),  # type: ignore[arg-type]
    )


def test_the_untrained_system_is_stable_diffusion_on_each_frame(sd_folder: Path) -> None:
    system = of_stable_diffusion(sd_folder).eval()
    unet = UNet2DConditionModel.from_pretrained(sd_folder, subfolder="unet", use_safetensors=True)
    schedule = system.denoiser.schedule
    text = system.text_encoder(["a dog", "a cat"])
    for frames in (1, 5, 8):
        z_t, t = torch.randn(2, frames, 4, 8, 8), torch.tensor([800, 10])
        with torch.no_grad():
            eps = unet(
                z_t.flatten(0, 1), t.repeat_interleave(frames), text.repeat_interleave(frames, 0)
            ).sample.unflatten(0, (2, frames))
            made = system.denoiser.network(z_t, t[:, None].expand(2, frames), text)
        assert torch.equal(made, eps)
        assert len(schedule) == 1000


def test_only_the_papers_parts_move_in_a_step(sd_folder: Path) -> None:
    system = of_stable_diffusion(sd_folder).train()
    before = {n: p.detach().clone() for n, p in system.named_parameters()}
    optimizer = torch.optim.AdamW(system.trainable_parameters().values(), 1e-3)
    system.loss(clips(2), generators_for(0, KEYS[:2])).loss.backward()
    optimizer.step()
    moved = {n for n, p in system.named_parameters() if not torch.equal(p, before[n])}
    assert any(".temporal." in n for n in moved)
    assert any(".transformer_blocks." in n and ".temporal." not in n for n in moved)
    assert all(".temporal." in n or ".transformer_blocks." in n for n in moved)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: small_vidrd(denoiser=DenoiserOptions(trained="temporal")), "starts at random"),
        (lambda: small_vidrd(denoiser=DenoiserOptions(clip_frames=0)), "clip_frames must be"),
        (lambda: DenoiserOptions(dropout=1.5), "dropout must be a finite number from 0 to 1"),
        (lambda: small_vidrd(denoiser=DenoiserOptions(clip_frames=3)), "do not fit in clips of 3"),
        (lambda: VidRDTraining(given_frames=2), "given_frames, a share of the samples"),
        (lambda: VidRDTraining(text_dropout=-1), "text_dropout must be"),
        (
            lambda: small_vidrd(VidRDTraining(given_frames=0.1, most_given=8)),
            "most_given is 8, but clips have 8",
        ),
        (
            lambda: VidRD.build(
                SmallUNet((16, 32), text_width=16, norm_groups=8),
                PixelUnshuffleAutoencoder(2),
                ByteTextEncoder(8),
            ),
            "tokens of width 8 but the U-Net reads 16",
        ),
    ],
)
def test_what_cannot_be_built_is_one_sentence(make, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make()


def test_it_can_be_given_first_frames_only_where_it_was_trained_to() -> None:
    batch = clips()
    assert small_vidrd().given(batch) is None
    continuing = small_vidrd(VidRDTraining(given_frames=0.1), PLAIN)
    assert continuing.continues and not small_vidrd().continues
    first = continuing.given(batch)
    assert first is not None and torch.equal(first, batch.frames[:, 0])
