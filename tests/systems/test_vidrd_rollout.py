"""VidRD's generation: against a plain loop over diffusers' DDIM, and any length of it."""

from __future__ import annotations

import gc
import warnings
from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor
from vidrd_parts import PLAIN, Mixing, Transparent, clips, latents_of, small_vidrd, transparent

from lightning_artv.diffusion.noise import generators_for, randn
from lightning_artv.errors import UserError
from lightning_artv.systems.base import DenoisingStep, SamplingSettings, Segment
from lightning_artv.systems.vidrd.settings import Guidance, VidRDSampling, VidRDTraining

SHAPE = (8, 2, 3, 5)


def diffusers_clips(settings: VidRDSampling, count: int) -> list[Tensor]:
    """Algorithm 1 as one would first write it, with diffusers' scheduler."""
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing=settings.spacing,
    )
    network, generators = Mixing(), generators_for(0, ["a", "b"])
    steps, m = settings.steps, settings.prompt_frames
    alpha, beta = settings.noise_reuse, settings.guided_share
    noise, before, made = torch.empty(0), [], []
    for i in range(count):
        fresh = randn(generators, SHAPE)
        if i == 0:
            noise = fresh
        else:
            previous = noise.clone()
            for j in range(8):
                noise[:, j] = previous[:, 7 - j]
                if j >= m:
                    noise[:, j] *= alpha / (1 + alpha**2) ** 0.5
                    noise[:, j] += fresh[:, j] / (1 + alpha**2) ** 0.5
        scheduler.set_timesteps(steps)
        z, now = noise.clone(), []
        for s, t in enumerate(scheduler.timesteps):
            with torch.no_grad():
                eps = network(z, t.expand(2, 8), torch.empty(0))
            z = scheduler.step(eps, t, z).prev_sample
            for j in range(m):
                if i > 0 and s < beta * steps * (1 - j / m) - 1e-9:
                    z[:, j] = before[s][:, 7 - j]
            now.append(z.clone())
        before = now
        made.append(z)
    return made


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [4, 8, 30, 50])
def test_three_clips_are_those_of_a_plain_loop(steps: int, spacing: str) -> None:
    settings = replace(PLAIN, steps=steps, spacing=spacing)  # type: ignore[arg-type]
    ours = latents_of(transparent(), 24, settings)
    theirs = torch.cat(diffusers_clips(settings, 3), dim=1)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_other_settings_are_those_of_a_plain_loop_too() -> None:
    for changes in ({"prompt_frames": 6}, {"noise_reuse": 0.5}, {"guided_share": 0.9}):
        settings = replace(PLAIN, steps=10, **changes)
        theirs = torch.cat(diffusers_clips(settings, 3), dim=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours = latents_of(transparent(), 24, settings)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_without_a_share_nothing_is_guided() -> None:
    off = replace(PLAIN, guided_share=0.0)
    none = latents_of(transparent(), 16, replace(PLAIN, prompt_frames=0, noise_reuse=0.0))
    fresh = latents_of(transparent(), 16, replace(off, prompt_frames=0, noise_reuse=0.0))
    assert torch.equal(none, fresh)  # without prompt frames, Eq. 8 divides by none
    theirs = torch.cat(diffusers_clips(off, 2), dim=1)
    torch.testing.assert_close(latents_of(transparent(), 16, off), theirs, atol=1e-5, rtol=1e-5)
    assert not torch.equal(latents_of(transparent(), 16, off), latents_of(transparent(), 16, PLAIN))


def test_guided_to_the_end_the_first_frame_is_the_last_one_again() -> None:
    made = latents_of(transparent(), 24, replace(PLAIN, steps=10, guided_share=1.0))
    for clip in (1, 2):
        assert torch.equal(made[:, 8 * clip], made[:, 8 * clip - 1])
        assert not torch.equal(made[:, 8 * clip + 1], made[:, 8 * clip - 2])


def test_without_fresh_noise_the_clip_after_next_is_the_clip_itself() -> None:
    settings = replace(PLAIN, guided_share=0.0, prompt_frames=8)
    with pytest.warns(UserWarning, match="never get new noise"):
        made = latents_of(transparent(), 24, settings)
    assert torch.equal(made[:, 16:], made[:, :8])
    assert not torch.equal(made[:, 8:16], made[:, :8])


@pytest.mark.parametrize("join", ["reuse", "overlap"])
@pytest.mark.parametrize("frames", [1, 3, 8, 11, 12, 17])
def test_a_shorter_video_is_the_beginning_of_a_longer_one(frames: int, join: str) -> None:
    settings = replace(PLAIN, join=join)  # type: ignore[arg-type]
    long = latents_of(transparent(), 29, settings)
    assert torch.equal(latents_of(transparent(), frames, settings), long[:, :frames])


@pytest.mark.parametrize("join", ["reuse", "overlap"])
def test_a_video_does_not_depend_on_its_batch_mates(join: str) -> None:
    settings = replace(PLAIN, join=join)  # type: ignore[arg-type]
    both = latents_of(transparent(), 20, settings)
    alone = latents_of(transparent(), 20, settings, keys=("b",))
    torch.testing.assert_close(alone[0], both[1])


def test_overlapped_frames_are_shown_once_and_seen_by_the_next_clip() -> None:
    system = transparent()
    settings = replace(PLAIN, join="overlap", prompt_frames=3)
    seen: list[DenoisingStep] = []
    generators = generators_for(0, ["a"])
    segments = [Segment(("",), 18)]
    frames = list(system.generate(segments, generators, (3, 5), None, settings, seen.append))
    assert len(frames) == 18
    assert [step.frame for step in seen[:: settings.steps]] == [0, 5, 10]
    assert isinstance(system.autoencoder, Transparent)
    shown = torch.cat([x[None] for x in system.autoencoder.decoded], dim=1)
    for clip in (1, 2):
        held = seen[clip * settings.steps].clean[:, :3]
        assert torch.equal(held, shown[:, 5 * clip : 5 * clip + 3])


class Listening(Mixing):
    """`Mixing` that keeps its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[Tensor, Tensor]] = []

    def forward(self, z_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        self.heard.append((z_t.clone(), t.clone()))
        return super().forward(z_t, t, text)


def listening(training: VidRDTraining | None = None) -> tuple:
    system = transparent(training=training)
    network = Listening()
    system.denoiser.network = network  # type: ignore[assignment]
    return system, network


def test_held_frames_carry_fresh_noise_of_each_step() -> None:
    system, network = listening()
    settings = replace(PLAIN, steps=20, join="overlap", prompt_frames=4)
    made = latents_of(system, 12, settings, size=(30, 30))
    schedule, noises = system.denoiser.schedule, []
    for z_t, t in network.heard[20:]:
        assert (t == t[0, 0]).all()
        signal, noise = schedule.signal(t[0, :1]), schedule.noise(t[0, :1])
        noises.append((z_t[:, :4] - signal * made[:, 4:8]) / noise)
    together = torch.stack(noises).flatten(1)
    assert abs(float(together[:10].var()) - 1) < 0.02
    assert float(torch.corrcoef(together[:10]).fill_diagonal_(0).abs().max()) < 0.05


def test_a_system_that_is_given_frames_sees_them_clean_at_step_0() -> None:
    system, network = listening(VidRDTraining(given_frames=0.5))
    settings = replace(PLAIN, join="overlap", prompt_frames=2)
    first = torch.randint(0, 256, (2, 3, 3, 5), dtype=torch.uint8)
    made = latents_of(system, 14, settings, first_frame=first)
    assert torch.equal(made[:, 0], system.autoencoder.encode(first))
    for z_t, t in network.heard[: settings.steps]:
        assert torch.equal(z_t[:, 0], made[:, 0])
        assert (t[:, 0] == 0).all() and (t[:, 1:] > 0).all()
    for z_t, t in network.heard[settings.steps :]:
        assert torch.equal(z_t[:, :2], made[:, 6:8])
        assert (t[:, :2] == 0).all() and (t[:, 2:] > 0).all()


def test_each_clip_takes_the_prompt_of_its_first_new_frame() -> None:
    system, prompts = transparent(), []
    encoder = system.text_encoder.forward
    system.text_encoder.forward = lambda texts: prompts.append(texts[0]) or encoder(texts)  # type: ignore[method-assign, func-returns-value]
    shots = [("one", 3), ("two", 6), ("three", 1), ("four", 20)]
    segments = [Segment((prompt,), frames) for prompt, frames in shots]
    list(system.generate(segments, generators_for(0, ["a"]), (3, 5), settings=PLAIN))
    assert [prompt for prompt in prompts if prompt] == ["one", "two", "four", "four"]


def test_guidance_of_the_text_is_the_papers_formula() -> None:
    system = small_vidrd()

    def made(prompt: str, weight: float) -> Tensor:
        settings = replace(PLAIN, steps=1, guidance=Guidance(weight))
        segments, generators = [Segment((prompt,), 8)], generators_for(0, ["a"])
        return torch.stack(list(system.generate(segments, generators, (16, 16), None, settings)))

    told, untold, guided = made("a dog", 0.0), made("", 0.0), made("a dog", 2.0)
    assert (told != untold).any()
    expected = told.float() + 2 * (told.float() - untold.float())
    inside = (expected > 5) & (expected < 250)
    assert inside.float().mean() > 0.2
    assert (guided.float() - expected)[inside].abs().max() <= 4  # each picture is rounded


def test_frames_come_out_as_soon_as_their_clip_is_made() -> None:
    system = transparent()
    frames = system.generate(
        [Segment(("",), 100)], generators_for(0, ["a"]), (3, 5), settings=PLAIN
    )
    network = system.denoiser.network
    for frame in range(24):
        next(frames)
        assert network.calls == (1 + frame // 8) * PLAIN.steps  # type: ignore[attr-defined]


@pytest.mark.parametrize("join", ["reuse", "overlap"])
def test_memory_does_not_grow_with_the_number_of_frames(join: str) -> None:
    system = small_vidrd()
    settings = replace(PLAIN, steps=2, join=join)  # type: ignore[arg-type]
    frames = system.generate(
        [Segment(("a",), 120)], generators_for(0, ["a"]), (16, 16), settings=settings
    )
    held = []
    for index, frame in enumerate(frames):
        del frame
        if index in (23, 119):
            held.append(values_alive())
    assert held[0] == held[1]


def values_alive() -> int:
    gc.collect()
    return sum(x.numel() for x in gc.get_objects() if type(x) is Tensor)


def ask(system, settings: SamplingSettings, first: Tensor | None = None) -> None:
    system.generate([Segment(("a",), 8)], generators_for(0, ["a"]), (16, 16), first, settings)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompt_frames": 9}, "9 prompt frames do not fit in clips of 8 frames"),
        ({"prompt_frames": -1}, "prompt_frames must be a whole number from 0"),
        ({"join": "overlap", "prompt_frames": 8}, "choose 1 to 7"),
        ({"join": "overlap", "prompt_frames": 0}, "choose 1 to 7"),
        ({"join": "glue"}, "choose reuse or overlap"),
        ({"noise_reuse": -0.1}, r"noise_reuse \(alpha\) must be a finite number from 0"),
        ({"noise_reuse": float("inf")}, r"noise_reuse \(alpha\) must be a finite number"),
        ({"noise_reuse": float("nan")}, r"noise_reuse \(alpha\) must be a finite number"),
        ({"guided_share": 1.1}, r"guided_share \(beta\) must be a finite number from 0 to 1"),
        ({"guided_share": -0.1}, r"guided_share \(beta\) must be a finite number from 0 to 1"),
        ({"sampler": "dpm-solver++"}, "choose ddim, guided_share=0 or join=overlap"),
        ({"sampler": "dpm-solver++", "join": "overlap", "eta": 0.5}, "eta needs the ddim sampler"),
        ({"sampler": "euler"}, "choose ddim or dpm"),
        ({"steps": 1001}, "1001 steps: choose 1 to 1000"),
        ({"clip_frames": 3}, "4 prompt frames do not fit in clips of 3 frames"),
        ({"clip_frames": 0}, "clip_frames must be a whole number from 1"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(changes: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        ask(small_vidrd(), replace(PLAIN, **changes))


def test_settings_of_another_system_are_refused() -> None:
    with pytest.raises(UserError, match="no settings of VidRD"):
        ask(small_vidrd(), SamplingSettings())


def test_dpm_solver_joins_where_nothing_is_guided_between_its_steps() -> None:
    for changes in ({"guided_share": 0.0}, {"join": "overlap"}, {"prompt_frames": 0}):
        ask(small_vidrd(), replace(PLAIN, sampler="dpm-solver++", **changes))


def test_a_first_frame_needs_training_with_given_frames() -> None:
    first = clips(1).frames[:, 0]
    with pytest.raises(UserError, match="trained without given_frames"):
        ask(small_vidrd(), PLAIN, first)
    system = small_vidrd(VidRDTraining(given_frames=0.5))
    ask(system, PLAIN, first)
    with pytest.raises(UserError, match="given 4 at most: lower prompt_frames"):
        ask(system, replace(PLAIN, join="overlap", prompt_frames=5), first)


def test_clips_of_another_length_only_where_asked() -> None:
    made = latents_of(transparent(), 10, replace(PLAIN, clip_frames=5))
    assert made.shape[1] == 10
    system, network = listening()
    latents_of(system, 10, replace(PLAIN, clip_frames=5))
    assert {z_t.shape[1] for z_t, _ in network.heard} == {5}
