"""ART•V's generation: guidance in rollouts, counters, storyboards, memory, refusals."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from flat_artv import full_size

from lightning_artv.diffusion.noise import generators_for, randn
from lightning_artv.errors import UserError
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.guided import GuidedDenoiser
from lightning_artv.systems.artv.references import (
    FrameConditions,
    without_anchor,
    without_references,
)
from lightning_artv.systems.artv.settings import ARTVSampling, Guidance
from lightning_artv.systems.base import DenoisingStep, Segment

MakeSystem = Callable[..., ARTV]
FAST = ARTVSampling(steps=2, guidance=Guidance(0.25, 0.25, 1.0), noise_level=20)


def _frames(system: ARTV, prompts: tuple[str, ...], frames: int, **options: object) -> torch.Tensor:
    keys = options.pop("keys", [str(i) for i in range(len(prompts))])
    options = {"settings": FAST, "size": (16, 16), **options}
    segments = options.pop("segments", None) or [Segment(prompts, frames)]
    made = system.generate(segments, generators_for(0, keys), **options)  # type: ignore[arg-type]
    return torch.stack(list(made), dim=1)


def test_a_closed_mask_and_one_text_weight_is_plain_stable_diffusion(sd_folder: Path) -> None:
    """The whole rollout of an untrained SD model's first frame against diffusers' scheduler and
    U-Net.
    """
    system = full_size(sd_folder).eval()
    settings = ARTVSampling(steps=5, guidance=Guidance(0.25, 0.25, 6.5), noise_level=0)
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
        return system.denoiser.denoise(y, torch.tensor([t, t]), encoded).clean

    with torch.no_grad():
        base = eps(conditions, text)
        expected = (
            base
            + 0.25 * (base - eps(without_references(conditions, drop), text))
            + 0.5 * (base - eps(without_anchor(conditions, drop), text))
            + 2.0 * (base - eps(conditions, null))
        )
        given = system.denoiser.encode((conditions, text))
        nothing = FrameConditions.blank(conditions.y_ref, level)
        blank = system.denoiser.encode((nothing, null))
        guided = GuidedDenoiser(system.denoiser, given, lambda: blank, weights, FAST)(y, t)
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
        blanks = 1 if branches > 1 else 0  # once per video
        assert adapters == [2] * (4 + blanks) * 4  # 4 generated frames, 4 modules
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


def test_memory_of_512_frames_is_that_of_16(make_system: MakeSystem) -> None:
    """All live tensors, counted while the last frame is out: 512 frames hold within 5 % of 16."""
    system = make_system()
    settings = ARTVSampling(steps=1, guidance=Guidance(0, 0, 0), noise_level=0)
    first = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)

    def held_at_the_end(frames: int) -> tuple[int, int]:
        made = system.generate(
            [Segment(("a",), frames)], generators_for(0, ["x"]), (8, 8), first, settings
        )
        for _ in range(frames):
            next(made)
        objects = gc.get_objects()
        live = [o for o in objects if issubclass(type(o), torch.Tensor)]  # no proxy of a dead one
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


def test_only_a_first_frame_from_the_text_takes_its_own_steps_and_guidance(
    make_system: MakeSystem,
) -> None:
    system = make_system(opened=True)
    segments, size = [Segment(("a dog",), 2)], (16, 16)
    settings = dataclasses.replace(FAST, first_steps=4, first_guidance=0.0)
    seen: list[DenoisingStep] = []
    g = generators_for(0, [0])
    made = list(system.generate(segments, g, size, None, settings, seen.append))
    assert [step.frame for step in seen] == [0] * 4 + [1] * FAST.steps
    unguided = dataclasses.replace(FAST, steps=4, guidance=Guidance(0, 0, 0))
    alone = next(iter(system.generate(segments, generators_for(0, [0]), size, None, unguided)))
    assert torch.equal(made[0], alone)
    seen.clear()
    list(system.generate(segments, generators_for(0, [0]), size, made[0], settings, seen.append))
    assert [step.frame for step in seen] == [1] * FAST.steps
