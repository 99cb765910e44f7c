"""ART•V's training: the preserved prior, the loss, dropped conditions, refused options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from flat_artv import build, full_size

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import generators_for, rand, randint, randn
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import KLAutoencoder
from lightning_artv.networks.unet import PretrainedUNet
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.masking import blend, static_noise
from lightning_artv.systems.artv.references import without_references

MakeSystem = Callable[..., ARTV]


def levels(system: ARTV, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Signal and noise at `t`, for products with latents."""
    schedule = system.denoiser.schedule
    return schedule.signal(t).view(-1, 1, 1, 1), schedule.noise(t).view(-1, 1, 1, 1)


@pytest.mark.parametrize("form", ["posterior", "residual", "literal", "none"])
def test_untrained_prediction_is_stable_diffusions(
    sd_folder: Path, batch: VideoBatch, form: str
) -> None:
    """Nothing dropped, everything conditioned: the prior is preserved by every form (Sec. 3.2,
    METHOD).
    """
    system = full_size(sd_folder, static_noise=form, condition_dropout=0.0).eval()
    plain = UNet2DConditionModel.from_pretrained(sd_folder, subfolder="unet")
    generators = generators_for(0, [0, 1, 2])
    y0, conditions, captions = system.prepare(batch, generators)
    assert captions == batch.captions and conditions.has_reference.all()
    text = system.text_encoder(captions)
    y_t, t = torch.randn_like(y0), torch.tensor([3, 400, 999])
    with torch.no_grad():
        ours = system.denoiser.denoise(y_t, t, system.denoiser.encode((conditions, text)))
        theirs = plain(y_t, t, text).sample
    signal, noise = levels(system, t)
    assert (signal * ours.clean + noise * theirs - y_t).abs().max() < 1e-5
    assert ours.mask is None if form == "none" else (ours.mask == 0).all()


def test_loss_is_eq_4_of_eq_7(make_system: MakeSystem, batch: VideoBatch) -> None:
    """Recomputed from the parts, with the same generators in the documented order of draws."""
    system = make_system(opened=True, condition_dropout=0.5, max_noise_level=300)
    denoiser = system.denoiser
    out = system.loss(batch, generators_for(7, [0, 1, 2]))

    g = generators_for(7, [0, 1, 2])
    pixels = batch.frames
    randn(g, (4, 12, 8, 8))  # the autoencoder's posterior sample, which a lossless one ignores
    latents = system.autoencoder.encode(pixels.flatten(0, 1)).unflatten(0, (3, 4))
    level = randint(g, 0, 301)
    noise = randn(g, (3, 12, 8, 8))
    frames = latents[:, 1:4]
    index = (level - 1).clamp(min=0)
    signal, lam = (
        f(index).view(-1, 1, 1, 1, 1) for f in (denoiser.schedule.signal, denoiser.schedule.noise)
    )
    noised = torch.where(level.view(-1, 1, 1, 1, 1) > 0, signal * frames + lam * noise, frames)
    drop = rand(g, (4,))[:, :3] < 0.5
    assert drop.any() and not drop.all()
    references = noised[:, :2] * ~drop[:, 0].view(-1, 1, 1, 1, 1)
    anchor = noised[:, 2] * ~drop[:, 1].view(-1, 1, 1, 1)
    text = system.text_encoder(
        ["" if d else c for c, d in zip(batch.captions, drop[:, 2], strict=True)]
    )
    t = randint(g, 0, 1000)
    eps = randn(g, (12, 8, 8))
    y_t = denoiser.schedule.add_noise(latents[:, 0], eps, t)
    dynamic = denoiser.dynamic(y_t, t, denoiser.dynamic.encode(references, anchor, text, level))
    assert denoiser.mask is not None
    logits = denoiser.mask(y_t, t, denoiser.mask.encode(references, anchor, text, level))
    s = torch.sigmoid(torch.tensor(-4.0))
    mask = ((logits.sigmoid() - s) / (1 - s)).clamp(min=0) * (~drop[:, 0]).view(-1, 1, 1, 1)
    static = static_noise(
        "posterior",
        y_t,
        latents[:, 1],
        *(f(t).view(-1, 1, 1, 1) for f in (denoiser.schedule.signal, denoiser.schedule.noise)),
    )
    expected = (blend(mask, static, dynamic) - eps).square().mean((1, 2, 3))
    torch.testing.assert_close(out.per_sample, expected)
    torch.testing.assert_close(out.loss, expected.mean())
    assert torch.equal(out.level, t / len(denoiser.schedule))
    torch.testing.assert_close(out.scalars["mask"], mask.mean((1, 2, 3)))


def test_samples_without_references_weigh_what_is_asked(
    make_system: MakeSystem, batch: VideoBatch
) -> None:
    options = {"opened": True, "condition_dropout": 0.5}
    paper = make_system(**options).loss(batch, generators_for(7, [0, 1, 2]))
    out = make_system(unreferenced_weight=0.1, **options).loss(batch, generators_for(7, [0, 1, 2]))
    _, conditions, _ = make_system(**options).prepare(batch, generators_for(7, [0, 1, 2]))
    assert conditions.has_reference.any() and not conditions.has_reference.all()
    weights = torch.where(conditions.has_reference, 1.0, 0.1)
    torch.testing.assert_close(out.per_sample, weights * paper.per_sample)


def test_weighted_losses_are_the_papers_times_the_weights(
    make_system: MakeSystem, batch: VideoBatch
) -> None:
    paper = make_system(opened=True).loss(batch, generators_for(7, [0, 1, 2]))
    weighted = make_system(opened=True, loss_weighting="v")
    out = weighted.loss(batch, generators_for(7, [0, 1, 2]))
    schedule = weighted.denoiser.schedule
    signal = schedule.signal((paper.level * len(schedule)).round().long())
    torch.testing.assert_close(out.per_sample, paper.per_sample / signal**2)


@pytest.mark.parametrize("kind", ["v_prediction", "residual"])
def test_other_predictions_are_turned_into_clean_latents_before_eq_7(
    make_system: MakeSystem, batch: VideoBatch, kind: str
) -> None:
    system = make_system(opened=True, static_noise="none", prediction_type=kind)
    plain = make_system(opened=True, static_noise="none")
    _, conditions, captions = system.prepare(batch, generators_for(7, [0, 1, 2]))
    some = torch.tensor([True, False, True])
    conditions = without_references(conditions, ~some)
    y_t, t = torch.randn(3, 12, 8, 8), torch.tensor([0, 500, 999])
    with torch.no_grad():
        encoded = system.denoiser.encode((conditions, system.text_encoder(captions)))
        clean, other = (s.denoiser.denoise(y_t, t, encoded).clean for s in (system, plain))
    signal, noise = levels(system, t)
    out = (y_t - signal * other) / noise  # the network's own output, which `plain` takes as noise
    expected = out + conditions.y_ref * some.view(-1, 1, 1, 1)
    if kind == "v_prediction":
        expected = signal * y_t - noise * out
    torch.testing.assert_close(clean, expected, rtol=1e-4, atol=1e-4)


def test_a_samples_loss_does_not_depend_on_its_batch_mates(
    make_system: MakeSystem, batch: VideoBatch
) -> None:
    system = make_system(opened=True)
    together = system.loss(batch, generators_for(0, list(batch.keys))).per_sample
    single = system.loss(batch[1:2], generators_for(0, ["k1"])).per_sample
    torch.testing.assert_close(single, together[1:2])


def test_conditions_are_dropped_independently_at_the_configured_rate(
    make_system: MakeSystem, batch: VideoBatch
) -> None:
    system = make_system(condition_dropout=0.3)
    dropped = []
    for i in range(400):
        _, conditions, captions = system.prepare(batch, generators_for(i, [0, 1, 2]))
        anchor = conditions.anchor.flatten(1).abs().sum(1) == 0
        text = torch.tensor([not c for c in captions])[:2]  # the third has no caption at all
        dropped.append(torch.stack([~conditions.has_reference[:2], anchor[:2], text], 1))
    rates = torch.cat(dropped).float()
    assert (rates.mean(0) - 0.3).abs().max() < 0.06  # 800 draws: sd 0.016
    assert rates.T.corrcoef().fill_diagonal_(0).abs().max() < 0.15


def test_first_frame_share_drops_both_image_conditions(
    make_system: MakeSystem, batch: VideoBatch
) -> None:
    system = make_system(condition_dropout=0.0, first_frame_share=0.5)
    both = []
    for i in range(200):
        _, conditions, captions = system.prepare(batch, generators_for(i, [0, 1, 2]))
        assert captions == batch.captions
        blank = conditions.anchor.flatten(1).abs().sum(1) == 0
        assert torch.equal(blank, ~conditions.has_reference)
        both.append(blank)
    assert abs(torch.cat(both).float().mean() - 0.5) < 0.08  # 600 draws: sd 0.02


def test_levels_cover_zero_to_t_max(make_system: MakeSystem, batch: VideoBatch) -> None:
    system = make_system(max_noise_level=3)
    levels = torch.cat(
        [system.prepare(batch, generators_for(i, [0, 1, 2]))[1].noise_level for i in range(60)]
    )
    assert set(levels.tolist()) == {0, 1, 2, 3}


def test_text_and_networks_train_and_frozen_parts_do_not(
    make_system: MakeSystem, sd_folder: Path, batch: VideoBatch
) -> None:
    system = make_system(opened=True)
    system.loss(batch, generators_for(0, [0, 1, 2])).loss.backward()
    without = [n for n, p in system.named_parameters() if p.grad is None]
    assert without == []
    names = full_size(sd_folder).eval().trainable_parameters()
    assert {n.split(".")[1] for n in names} == {"dynamic", "mask"}
    assert all(name.startswith("denoiser.") for name in names)


def test_a_system_without_anchor_is_blind_to_it(make_system: MakeSystem, batch: VideoBatch) -> None:
    system = make_system(opened=True, use_anchor=False)
    _, conditions, _ = system.prepare(batch, generators_for(0, [0, 1, 2]))
    assert (conditions.anchor == 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {"static_noise": "postrior"},
        {"mask_channels": "two"},
        {"max_noise_level": 1001},
        {"condition_dropout": 1.5},
        {"first_frame_share": -0.1},
    ],
)
def test_bad_options_are_refused(make_system: MakeSystem, options: dict[str, object]) -> None:
    with pytest.raises(UserError, match="choose"):
        make_system(**options)


def test_mismatched_text_width_is_one_sentence(sd_folder: Path) -> None:
    from lightning_artv.networks.text_encoder import ByteTextEncoder

    name = str(sd_folder)
    with pytest.raises(UserError, match="width 16"):
        build(PretrainedUNet(name), KLAutoencoder(name), ByteTextEncoder(16))
