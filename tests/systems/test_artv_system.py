"""ART•V as a whole: the preserved prior, the loss, guidance in rollouts, counters, memory."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from flat_artv import build

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import generators_for, rand, randint, randn
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import KLAutoencoder
from lightning_artv.networks.text_encoder import CLIPTextEncoder
from lightning_artv.networks.unet import PretrainedUNet
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.masking import blend, static_noise
from lightning_artv.systems.artv.references import without_anchor, without_references
from lightning_artv.systems.base import DenoisingStep, Guidance, SamplingSettings, Segment

MakeSystem = Callable[..., ARTV]
FAST = SamplingSettings(steps=2, guidance=Guidance(0.25, 0.25, 1.0), noise_level=20)


def _sd_system(folder: Path, **options: object) -> ARTV:
    name = str(folder)
    return build(
        PretrainedUNet(name),
        KLAutoencoder(name),
        CLIPTextEncoder(name),
        **options,  # type: ignore[arg-type]
    ).eval()


def _frames(system: ARTV, prompts: tuple[str, ...], frames: int, **options: object) -> torch.Tensor:
    keys = options.pop("keys", [str(i) for i in range(len(prompts))])
    options = {"settings": FAST, "size": (16, 16), **options}
    segments = options.pop("segments", None) or [Segment(prompts, frames)]
    made = system.generate(segments, generators_for(0, keys), **options)  # type: ignore[arg-type]
    return torch.stack(list(made), dim=1)


@pytest.mark.parametrize("form", ["posterior", "residual", "literal", "none"])
def test_untrained_prediction_is_stable_diffusions(
    sd_folder: Path, batch: VideoBatch, form: str
) -> None:
    """Nothing dropped, everything conditioned: the prior is preserved by every form (Sec. 3.2,
    METHOD).
    """
    system = _sd_system(sd_folder, static_noise=form, condition_dropout=0.0)
    plain = UNet2DConditionModel.from_pretrained(sd_folder, subfolder="unet")
    generators = generators_for(0, [0, 1, 2])
    y0, conditions, captions = system.prepare(batch, generators)
    assert captions == batch.captions and conditions.has_reference.all()
    text = system.text_encoder(captions)
    y_t, t = torch.randn_like(y0), torch.tensor([3, 400, 999])
    with torch.no_grad():
        ours = system.denoiser.predict_noise(y_t, t, system.denoiser.encode((conditions, text)))
        theirs = plain(y_t, t, text).sample
    assert (ours.eps - theirs).abs().max() < 1e-5
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
    assert torch.equal(out.timesteps, t)
    torch.testing.assert_close(out.mask_mean, mask.mean((1, 2, 3)))


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
    signal = weighted.denoiser.schedule.signal(paper.timesteps)
    torch.testing.assert_close(out.per_sample, paper.per_sample / signal**2)


@pytest.mark.parametrize("kind", ["v_prediction", "residual"])
def test_other_predictions_are_turned_into_noise_before_eq_7(
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
        eps, out = (s.denoiser.predict_noise(y_t, t, encoded).eps for s in (system, plain))
    schedule = system.denoiser.schedule
    signal, noise = (f(t).view(-1, 1, 1, 1) for f in (schedule.signal, schedule.noise))
    if kind == "v_prediction":
        torch.testing.assert_close(eps, signal * out + noise * y_t)
    else:
        clean = out + conditions.y_ref * some.view(-1, 1, 1, 1)
        torch.testing.assert_close(signal * clean + noise * eps, y_t)


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
    names = _sd_system(sd_folder).trainable_parameters()
    assert {n.split(".")[1] for n in names} == {"dynamic", "mask"}
    assert all(name.startswith("denoiser.") for name in names)


def test_a_closed_mask_and_one_text_weight_is_plain_stable_diffusion(sd_folder: Path) -> None:
    """The whole rollout of an untrained SD model's first frame against diffusers' scheduler and
    U-Net.
    """
    system = _sd_system(sd_folder)
    settings = SamplingSettings(steps=5, guidance=Guidance(0.25, 0.25, 6.5), noise_level=0)
    clean: list[DenoisingStep] = []
    list(
        system.generate(
            [Segment(("a dog",), 1)],
            generators_for(3, ["x"]),
            (16, 16),
            settings=settings,
            observer=clean.append,
        )
    )
    plain = UNet2DConditionModel.from_pretrained(sd_folder, subfolder="unet")
    scheduler = DDIMScheduler.from_pretrained(sd_folder, subfolder="scheduler")
    scheduler.set_timesteps(5)
    g = generators_for(3, ["x"])
    randn(g, (3, 4, 8, 8))  # the augmentation's noise, which blank frames do not show
    y = randn(g, (4, 8, 8))
    text = torch.cat([system.text_encoder(["a dog"]), system.text_encoder([""])])
    for step, t in zip(clean, scheduler.timesteps, strict=True):
        with torch.no_grad():
            conditional, null = plain(y.repeat(2, 1, 1, 1), t, text).sample.chunk(2)
        eps = null + 7.5 * (conditional - null)
        out = scheduler.step(eps, t, y)
        assert step.timestep == t
        torch.testing.assert_close(step.clean, out.pred_original_sample, rtol=1e-4, atol=1e-4)
        y = out.prev_sample


def test_guided_prediction_is_the_formula_over_separate_evaluations(
    make_system: MakeSystem,
) -> None:
    from lightning_artv.systems.artv.rollout import _GuidedDenoiser

    system = make_system(opened=True)
    weights = {"references": 0.25, "anchor": 0.5, "text": 2.0}
    level, y, t = torch.tensor([30, 30]), torch.randn(2, 12, 8, 8), 500
    conditions = system.denoiser.condition(
        torch.randn(2, 2, 12, 8, 8), torch.randn(2, 12, 8, 8), level, generators_for(0, [0, 1])
    )
    text, null = system.text_encoder(["a", "b"]), system.text_encoder(["", ""])
    drop = torch.tensor([True, True])

    def eps(c: object, tokens: torch.Tensor) -> torch.Tensor:
        encoded = system.denoiser.encode((c, tokens))  # type: ignore[arg-type]
        return system.denoiser.predict_noise(y, torch.tensor([t, t]), encoded).eps

    with torch.no_grad():
        base = eps(conditions, text)
        expected = (
            base
            + 0.25 * (base - eps(without_references(conditions, drop), text))
            + 0.5 * (base - eps(without_anchor(conditions, drop), text))
            + 2.0 * (base - eps(conditions, null))
        )
        guided = _GuidedDenoiser(system.denoiser, conditions, text, null, weights)(y, t)
    torch.testing.assert_close(guided, expected, rtol=1e-4, atol=1e-5)


def _count(module: torch.nn.Module, rows: list[int]) -> None:
    module.register_forward_hook(lambda m, args, out: rows.append(len(args[0])))


def test_adapters_and_anchors_run_once_a_frame_and_zero_weights_cost_nothing(
    make_system: MakeSystem,
) -> None:
    system = make_system(opened=True)
    assert system.denoiser.mask is not None
    adapters: list[int] = []
    unets: list[int] = []
    for network in (system.denoiser.dynamic, system.denoiser.mask):
        _count(network.adapter, adapters)
        _count(network.anchor_encoder, adapters)
        _count(network.unet, unets)
    first = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    for guidance, branches in (
        (Guidance(0.25, 0.25, 6.5), 4),
        (Guidance(0, 0, 6.5), 2),
        (Guidance(0, 0, 0), 1),
    ):
        adapters.clear()
        unets.clear()
        settings = dataclasses.replace(FAST, steps=3, guidance=guidance)
        _frames(system, ("a", "b"), 5, first_frame=first, settings=settings)
        assert adapters == [2 * branches] * 4 * 4  # 4 generated frames, 4 modules
        assert unets == [2 * branches] * 4 * 3 * 2  # frames, steps, networks


def test_a_video_does_not_depend_on_its_batch_mates(make_system: MakeSystem) -> None:
    system = make_system(opened=True)
    both = _frames(system, ("a", "b"), 3, keys=["x", "y"])
    alone = _frames(system, ("b",), 3, keys=["y"])
    assert (both[1:].int() - alone.int()).abs().max() <= 1


def test_given_first_frame_is_the_first_frame_and_the_seed_decides(make_system: MakeSystem) -> None:
    system = make_system(opened=True)
    first = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    a = _frames(system, ("a",), 3, first_frame=first)
    assert a.shape == (1, 3, 3, 16, 16) and torch.equal(a[:, 0], first)
    assert torch.equal(a, _frames(system, ("a",), 3, first_frame=first))
    assert not torch.equal(a, _frames(system, ("a",), 3, first_frame=first, keys=["other"]))


def test_storyboard_continues_and_anchors_where_asked(make_system: MakeSystem) -> None:
    system = make_system(opened=True)
    anchors: list[torch.Tensor] = []
    condition = system.denoiser.condition

    def spy(references, anchor, level, generators):  # type: ignore[no-untyped-def]
        anchors.append(anchor)
        return condition(references, anchor, level, generators)

    system.denoiser.condition = spy  # type: ignore[method-assign]
    story = [Segment(("a",), 3), Segment(("b",), 2)]
    whole = _frames(system, (), 0, segments=story, keys=["x"])
    assert whole.shape[1] == 5
    # anchors[0] belongs to the video's own first frame, which is blank
    assert all(torch.equal(a, anchors[1]) for a in anchors[2:])
    anchors.clear()
    settings = dataclasses.replace(FAST, segment_anchor=True)
    other = _frames(system, (), 0, segments=story, keys=["x"], settings=settings)
    assert torch.equal(other[:, :3], whole[:, :3])
    assert torch.equal(anchors[1], anchors[2]) and not torch.equal(anchors[2], anchors[3])
    same = _frames(system, (), 0, segments=[Segment(("a",), 5)], keys=["x"])
    assert torch.equal(same[:, :3], whole[:, :3]) and not torch.equal(same[:, 3:], whole[:, 3:])


def test_a_system_without_anchor_is_blind_to_it(make_system: MakeSystem, batch: VideoBatch) -> None:
    system = make_system(opened=True, use_anchor=False)
    _, conditions, _ = system.prepare(batch, generators_for(0, [0, 1, 2]))
    assert (conditions.anchor == 0).all()


def test_memory_of_512_frames_is_that_of_16(make_system: MakeSystem) -> None:
    """All live tensors, counted while the last frame is out: 512 frames hold within 5 % of 16."""
    system = make_system()
    settings = SamplingSettings(steps=1, guidance=Guidance(0, 0, 0), noise_level=0)
    first = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)

    def held_at_the_end(frames: int) -> tuple[int, int]:
        made = system.generate(
            [Segment(("a",), frames)], generators_for(0, ["x"]), (8, 8), first, settings
        )
        for _ in range(frames):
            next(made)
        objects = gc.get_objects()
        live = [o for o in objects if isinstance(o, torch.Tensor)]
        return sum(t.numel() * t.element_size() for t in live), len(objects)

    held_at_the_end(2)
    short, long = held_at_the_end(16), held_at_the_end(512)
    assert long[0] <= 1.05 * short[0]
    assert long[1] <= 1.05 * short[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (15, 16)}, "not divisible"),
        ({"first_frame": torch.zeros(1, 3, 8, 8, dtype=torch.uint8)}, "first frame"),
        ({"settings": dataclasses.replace(FAST, steps=1001)}, "steps"),
        ({"settings": dataclasses.replace(FAST, sampler="euler")}, "ddim or dpm-solver"),
        ({"settings": dataclasses.replace(FAST, noise_level=551)}, "0 to 550"),
        ({"segments": []}, "at least one segment"),
        ({"segments": [Segment(("a", "b"), 2)]}, "one each"),
    ],
)
def test_bad_requests_are_refused_before_the_first_frame(
    make_system: MakeSystem, change: dict[str, object], message: str
) -> None:
    options = {
        "segments": [Segment(("a",), 2)],
        "size": (16, 16),
        "first_frame": None,
        "settings": FAST,
        **change,
    }
    with pytest.raises(UserError, match=message):
        make_system().generate(generators=generators_for(0, ["x"]), **options)  # type: ignore[arg-type]


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
