"""The training of a small picture autoencoder."""

from __future__ import annotations

import pytest
import torch

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import generators_for, randn
from lightning_artv.errors import UserError
from lightning_artv.systems.decoder.autoencoder import PictureAutoencoder


def small(**options: object) -> PictureAutoencoder:
    torch.manual_seed(0)
    return PictureAutoencoder(channels=(8, 16, 16), norm_groups=4, **options)  # type: ignore[arg-type]


@pytest.fixture
def batch() -> VideoBatch:
    frames = torch.randint(0, 256, (2, 3, 3, 16, 16), dtype=torch.uint8)
    choice = torch.arange(3).expand(2, 1, 3)
    return VideoBatch(frames, choice, ("", ""), ("a", "b"))


def test_the_loss_is_the_error_and_the_divergence_from_a_standard_normal(batch: VideoBatch) -> None:
    part = small(kl_weight=0.1)
    true = batch.frames.flatten(0, 1) / 127.5 - 1
    with torch.no_grad():
        mean, log_variance = part.vae.quant_conv(part.vae.encoder(true)).chunk(2, dim=1)
        noise = randn(generators_for(0, "ab"), (3, 4, 4, 4), mean.device).flatten(0, 1)
        made = part.vae.decode(mean + torch.exp(log_variance / 2) * noise).sample
    kl = (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=(1, 2, 3)) / 2
    errors = (made - true).square().mean(dim=(1, 2, 3)) + 0.1 * kl / (3 * 16 * 16)
    output = part.loss(batch, generators_for(0, "ab"))
    torch.testing.assert_close(output.per_sample, errors.unflatten(0, (2, 3)).mean(dim=1))
    assert output.loss.item() == pytest.approx(errors.mean().item())
    assert output.level is None and set(output.scalars) == {"squared_error", "kl"}


def test_pictures_are_learned() -> None:
    part = small()
    coarse = torch.randint(0, 256, (4, 1, 3, 4, 4), dtype=torch.uint8)
    frames = coarse.repeat_interleave(4, dim=3).repeat_interleave(4, dim=4)
    batch = VideoBatch(frames, torch.zeros(4, 1, 1, dtype=torch.int64), ("",) * 4, tuple("abcd"))
    optimizer = torch.optim.Adam(part.trainable_parameters().values(), 3e-3)
    errors = []
    for step in range(60):
        optimizer.zero_grad()
        output = part.loss(batch, generators_for(step, "abcd"))
        output.loss.backward()
        optimizer.step()
        errors.append(output.scalars["squared_error"].mean().item())
    assert errors[-1] < errors[0] / 2


def test_previews_are_clips_side_by_side(batch: VideoBatch) -> None:
    shown = small().preview(batch, generators_for(0, "ab"))
    assert torch.equal(shown["truth"], batch.frames)
    made = shown["autoencoder"]
    assert made.shape == batch.frames.shape and made.dtype == torch.uint8


def test_what_cannot_be_trained_is_one_sentence(batch: VideoBatch) -> None:
    stored = VideoBatch(torch.zeros(2, 3, 8, 4, 4).half(), batch.choice, ("", ""), ("a", "b"))
    with pytest.raises(UserError, match="learns from pixels"):
        small().loss(stored, generators_for(0, "ab"))
    with pytest.raises(UserError, match="kl_weight"):
        small(kl_weight=-1.0)
