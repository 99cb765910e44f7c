"""A video decoder's loss, what of it trains, and generation through it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torchmetrics.functional.image.lpips import _LPIPS

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import CorruptWeightsError, MissingWeightsError, UserError
from lightning_artv.networks.autoencoder import DiffusersAutoencoder, PixelUnshuffleAutoencoder
from lightning_artv.networks.perceptual import LPIPS, PatchDiscriminator
from lightning_artv.networks.temporal import TEMPORAL
from lightning_artv.networks.text_encoder import ByteTextEncoder
from lightning_artv.networks.unet import SmallUNet
from lightning_artv.pipelines.composing import compose
from lightning_artv.systems.base import Segment
from lightning_artv.systems.decoder.degradations import degrade_clips
from lightning_artv.systems.decoder.system import DecoderOptions, DecoderTraining, VideoDecoder
from lightning_artv.systems.vidrd import VidRD
from lightning_artv.systems.vidrd.settings import Guidance, VidRDSampling


def small_vae(seed: int = 0) -> AutoencoderKL:
    torch.manual_seed(seed)
    return AutoencoderKL(
        block_out_channels=(8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        latent_channels=4,
    ).eval()


def small_decoder(training: DecoderTraining | None = None, **options: object) -> VideoDecoder:
    decoder = DecoderOptions(**{"clip_frames": 4, "decode_context": 2, **options})  # type: ignore[arg-type]
    autoencoder = DiffusersAutoencoder(small_vae())
    return VideoDecoder.build(autoencoder, decoder, training or DecoderTraining())


def loud(part: VideoDecoder) -> VideoDecoder:
    """All that starts at zero at random."""
    torch.manual_seed(1)
    for name, parameter in part.decoder.named_parameters():
        if TEMPORAL in name:
            nn.init.normal_(parameter, std=0.2)
    return part


@pytest.fixture
def batch() -> VideoBatch:
    frames = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    choice = torch.arange(4).expand(2, 1, 4)
    return VideoBatch(frames, choice, ("", ""), ("a", "b"))


@pytest.mark.parametrize("degraded", [False, True])
def test_the_untrained_loss_is_the_image_decoders_l1(batch: VideoBatch, degraded: bool) -> None:
    part = small_decoder(DecoderTraining("bsrgan" if degraded else None), layers="convolutions")
    part.eval()
    generators = generators_for(0, batch.keys)
    seen = degrade_clips(batch.frames, generators) if degraded else batch.frames
    latents = part.autoencoder.encode_clips(seen, generators).flatten(0, 1)
    made = part.autoencoder.vae.decode(latents / part.autoencoder.vae.config.scaling_factor).sample
    true = batch.frames.flatten(0, 1) / 127.5 - 1
    expected = (made - true).abs().unflatten(0, (2, 4)).flatten(1).mean(dim=1)
    output = part.loss(batch, generators_for(0, batch.keys))
    torch.testing.assert_close(output.per_sample, expected)
    assert output.loss.item() == pytest.approx(expected.mean().item())
    assert output.level is None and set(output.scalars) == {"l1"}


def step(part: VideoDecoder, batch: VideoBatch) -> dict[str, bool]:
    """One step of training; name -> whether the weight moved."""
    before = copy.deepcopy({n: p.detach() for n, p in part.named_parameters()})
    optimizer = torch.optim.SGD(part.trainable_parameters().values(), 1e-3)
    part.loss(batch, generators_for(0, batch.keys)).loss.backward()
    optimizer.step()
    return {n: not torch.equal(p, before[n]) for n, p in part.named_parameters()}


def test_vidrds_training_moves_the_layers_over_time_alone(batch: VideoBatch) -> None:
    moved = step(loud(small_decoder()), batch)
    assert {TEMPORAL in name for name, has in moved.items() if has} == {True}
    assert all(has for name, has in moved.items() if TEMPORAL in name)


@pytest.mark.parametrize("layers", ["blocks", "convolutions"])
def test_an_image_decoder_stays_one_in_training(batch: VideoBatch, layers: str) -> None:
    part = small_decoder(DecoderTraining("bsrgan"), layers=layers, trained="image")
    moved = step(part, batch)
    changed = {name for name, has in moved.items() if has}
    assert "decoder.decoder.conv_out.weight" in changed
    assert not any(TEMPORAL in name or name.startswith("autoencoder.") for name in changed)
    latents = torch.randn(1, 4, 4, 8, 8)
    with torch.no_grad():
        alone = torch.cat([part.decoder(frame) for frame in latents.split(1, dim=1)], dim=1)
        torch.testing.assert_close(part.decoder(latents), alone, rtol=0, atol=1e-5)


def test_videogens_training_moves_the_whole_decoder_and_no_encoder(batch: VideoBatch) -> None:
    training = DecoderTraining("bsrgan")
    moved = step(loud(small_decoder(training, layers="convolutions", trained="all")), batch)
    assert all(has for name, has in moved.items() if name.startswith("decoder.decoder.up_blocks"))
    assert not any(has for name, has in moved.items() if name.startswith("autoencoder."))


def test_a_clip_is_judged_alone(batch: VideoBatch) -> None:
    part = loud(small_decoder(DecoderTraining("bsrgan"))).eval()
    both = part.loss(batch, generators_for(0, "ab")).per_sample
    alone = part.loss(batch[1:], generators_for(0, "b")).per_sample
    torch.testing.assert_close(both[1:], alone)


def test_what_cannot_be_trained_is_one_sentence(batch: VideoBatch) -> None:
    with pytest.raises(UserError, match="PixelUnshuffleAutoencoder has no decoder to train"):
        VideoDecoder.build(PixelUnshuffleAutoencoder(2))
    stored = VideoBatch(torch.zeros(2, 4, 8, 8, 8).half(), batch.choice, ("", ""), ("a", "b"))
    with pytest.raises(UserError, match="learns from pixels"):
        small_decoder().loss(stored, generators_for(0, "ab"))
    for wrong in ({"trained": "some"}, {"clip_frames": 0}, {"decode_context": -1}):
        with pytest.raises(UserError):
            DecoderOptions(**wrong)  # type: ignore[arg-type]
    for bad in ({"degrade": "x"}, {"disc": -1.0}, {"lpips_weight": float("nan")}):
        with pytest.raises(UserError):
            DecoderTraining(**bad)  # type: ignore[arg-type]


def test_previews_are_clips_side_by_side(batch: VideoBatch) -> None:
    shown = small_decoder(DecoderTraining("bsrgan")).preview(batch, generators_for(0, "ab"))
    assert list(shown) == ["truth", "degraded", "image_decoder", "decoder"]
    assert all(x.shape == batch.frames.shape and x.dtype == torch.uint8 for x in shown.values())
    assert torch.equal(shown["truth"], batch.frames)
    assert "degraded" not in small_decoder().preview(batch, generators_for(0, "ab"))


# Discriminator and LPIPS


def test_the_discriminator_learns_beside_what_it_judges(batch: VideoBatch) -> None:
    part = loud(small_decoder(DecoderTraining(disc=0.5), trained="all"))
    output = part.loss(batch, generators_for(0, batch.keys))
    output.loss.backward()
    assert "disc" in output.scalars
    assert part.discriminator is not None
    weights = [p for p in part.discriminator.parameters() if p.ndim > 1]
    assert all(p.grad is not None and p.grad.any() for p in weights)
    with torch.no_grad():
        part.loss(batch, generators_for(0, batch.keys))  # as in validation


def test_each_side_has_its_own_gradient() -> None:
    torch.manual_seed(0)
    judge = PatchDiscriminator(width=4, layers=2)
    real, made = torch.rand(2, 2, 3, 16, 16)
    made.requires_grad_()
    judge.realness(made).sum().backward()
    assert made.grad is not None and made.grad.any()
    assert all(p.grad is None for p in judge.parameters())
    made.grad = None
    judge.hinge(real, made).sum().backward()
    assert made.grad is None and all(p.grad is not None for p in judge.parameters())


def test_a_trained_discriminator_tells_noise_from_planes() -> None:
    torch.manual_seed(0)
    judge = PatchDiscriminator(width=8, layers=2)
    optimizer = torch.optim.Adam(judge.parameters(), 2e-3)
    for _ in range(30):
        optimizer.zero_grad()
        loss = judge.hinge(
            torch.rand(4, 3, 1, 1).expand(4, 3, 16, 16), torch.rand(4, 3, 16, 16)
        ).mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.5


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A file of VGG16's features with random weights, and torchmetrics' network with them."""
    torch.manual_seed(0)
    network = _LPIPS(pretrained=True, net="vgg", pnet_rand=True).eval()
    parts = [part.state_dict() for part in network.net.children()]
    tensors = {f"features.{n}": x for part in parts for n, x in part.items()}
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(tensors, path)
    return path, network


def test_lpips_is_torchmetrics(vgg: tuple[Path, nn.Module], batch: VideoBatch) -> None:
    path, network = vgg
    one, other = torch.rand(2, 3, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        expected = network(one, other).flatten()
    torch.testing.assert_close(LPIPS(str(path)).distance(one, other), expected)
    plain = small_decoder().loss(batch, generators_for(0, "ab"))
    part = small_decoder(DecoderTraining(lpips=LPIPS(str(path)), lpips_weight=2.0))
    output = part.loss(batch, generators_for(0, "ab"))
    torch.testing.assert_close(output.per_sample, plain.per_sample + 2 * output.scalars["lpips"])
    assert not any("net." in name for name in part.state_dict())  # no part of the checkpoint


def test_lpips_without_its_weights_is_one_sentence(
    vgg: tuple[Path, nn.Module], tmp_path: Path
) -> None:
    frames = torch.zeros(1, 3, 32, 32)
    with pytest.raises(MissingWeightsError, match="no weights of VGG16"):
        LPIPS(str(tmp_path / "none.pth")).distance(frames, frames)
    with pytest.raises(CorruptWeightsError, match="has sha256"):
        LPIPS(str(vgg[0]), sha256="0" * 64).distance(frames, frames)
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CorruptWeightsError, match="does not hold torchvision's VGG16"):
        LPIPS(str(tmp_path / "other.pth")).distance(frames, frames)


# Generation


def vidrd(vae: AutoencoderKL) -> VidRD:
    torch.manual_seed(0)
    return VidRD.build(
        SmallUNet((16, 32), text_width=16, norm_groups=8),
        DiffusersAutoencoder(vae),
        ByteTextEncoder(16),
        sampling=VidRDSampling(steps=2, guidance=Guidance(0.0)),
    ).eval()


def video(system: VidRD, frames: int) -> Tensor:
    made = system.generate([Segment(("a",), frames)], generators_for(0, "a"), (16, 16))
    return torch.stack([*made], dim=1)


def test_vidrds_videos_run_through_the_layers_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    part = loud(small_decoder(clip_frames=8, decode_context=3)).eval()
    system = vidrd(small_vae())
    shown: list[Tensor] = []
    own = system.autoencoder.decode_clip

    def kept(latents: Tensor, before: Tensor | None = None) -> Tensor:
        shown.append(latents)
        return own(latents, before)

    monkeypatch.setattr(system.autoencoder, "decode_clip", kept)
    by_picture = video(system, 13)
    latents = torch.cat(shown, dim=1)
    assert latents.shape[1] == 16  # whole clips
    part.attach(system)
    made = video(system, 13)
    assert made.shape == by_picture.shape == (1, 13, 3, 16, 16)
    with torch.no_grad():
        first = part.decoder(latents[:, :8])
        second = part.decoder(latents[:, 5:])[:, 3:]  # 3 frames of the clip before are seen again
        alone = part.decoder(latents[0][:, None]).transpose(0, 1)
    assert torch.equal(made, as_pixels(torch.cat([first, second], dim=1))[:, :13])
    assert not torch.equal(made, as_pixels(alone)[:, :13])  # without the number of frames
    assert torch.equal(video(system, 9), made[:, :9])


def as_pixels(pictures: Tensor) -> Tensor:
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def test_a_decoder_of_other_latents_is_refused() -> None:
    part = small_decoder()
    with pytest.raises(UserError, match="latents of another autoencoder"):
        part.attach(vidrd(small_vae(seed=5)))
    scaled = small_vae()
    scaled.register_to_config(scaling_factor=1.0)
    with pytest.raises(UserError, match="latents of another autoencoder"):
        part.attach(vidrd(scaled))
    part.attach(vidrd(small_vae()))


def test_a_vidrd_and_its_decoder_are_given_together() -> None:
    part, system = loud(small_decoder(clip_frames=8)).eval(), vidrd(small_vae())
    plain = video(system, 8)
    whole = compose({"decoder.ckpt": part, "vidrd.ckpt": system})
    assert whole is system and not torch.equal(video(system, 8), plain)
    for wrong in ({"other.ckpt": vidrd(small_vae())}, {"a": part, "b": small_decoder()}):
        with pytest.raises(UserError, match="holds all of VidRD: give it alone, or"):
            compose({"vidrd.ckpt": vidrd(small_vae()), **wrong})
