"""A scheduler says the noise schedule and the sampling settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    SchedulerMixin,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_systems import generate, small_system

from lightning_artv import ARTVPipeline
from lightning_artv.diffusion.schedule import NoiseSchedule
from lightning_artv.errors import UserError
from lightning_artv.pipelines.schedulers import sampling_from, schedule_from, scheduler_for
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.settings import ARTVSampling, Guidance


def scheduler_of(system: ARTV) -> SchedulerMixin:
    kind = system.denoiser.masking.prediction_type
    return scheduler_for(system.denoiser.schedule, system.sampling, kind)


@st.composite
def samplings(draw: st.DrawFn) -> ARTVSampling:
    return ARTVSampling(
        steps=draw(st.integers(1, 50)),
        sampler=draw(st.sampled_from(["ddim", "dpm-solver++"])),
        spacing=draw(st.sampled_from(["leading", "trailing", "linspace"])),
        guidance=Guidance(*draw(st.tuples(*[st.floats(0, 9)] * 3))),
        clip_latents=draw(st.sampled_from([None, 1.0, 2.5])),
        set_alpha_to_one=draw(st.booleans()),
    )


SYSTEM = small_system()


@settings(max_examples=30, deadline=None)
@given(samplings())
def test_a_scheduler_says_the_sampling_settings(sampling: ARTVSampling) -> None:
    SYSTEM._sampling = sampling
    scheduler = scheduler_of(SYSTEM)
    again = type(scheduler).from_config(json.loads(scheduler.to_json_string()))
    assert sampling_from(again, ARTVSampling(steps=sampling.steps)) == ARTVSampling(
        **{**vars(sampling), "guidance": Guidance()}
    )


@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++"])
def test_an_unset_last_step_is_the_samplers_own(sampler: str) -> None:
    SYSTEM._sampling = ARTVSampling(sampler=sampler)
    found = sampling_from(scheduler_of(SYSTEM), ARTVSampling())
    assert found.set_alpha_to_one is (sampler == "dpm-solver++")


@pytest.mark.parametrize(
    "schedule",
    [
        NoiseSchedule.scaled_linear(),
        NoiseSchedule.linear(),
        NoiseSchedule.cosine(),
        NoiseSchedule.linear(40, 1e-3, 0.5),
    ],
)
def test_a_scheduler_says_the_noise_schedule_exactly(schedule: NoiseSchedule) -> None:
    system = small_system(ARTVSampling())
    system.denoiser.schedule = schedule
    scheduler = scheduler_of(system)
    again = DDIMScheduler.from_config(json.loads(scheduler.to_json_string()))
    assert schedule_from(again).betas.equal(schedule.betas)
    assert torch.allclose(again.alphas_cumprod.double(), schedule.alpha_bar, rtol=1e-4, atol=1e-7)


def test_another_scheduler_is_another_sampler(exported: dict[str, Path]) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["sd"])
    ddim = generate(pipeline, num_inference_steps=4)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    dpm = generate(pipeline, num_inference_steps=4)
    assert not dpm.equal(ddim)
    system = pipeline.to_system()
    assert system.sampling.sampler == "dpm-solver++"
    pipeline = ARTVPipeline.from_pretrained(exported["sd"])
    pipeline.scheduler = PNDMScheduler.from_config(
        pipeline.scheduler.config, skip_prk_steps=True, steps_offset=1
    )
    with pytest.warns(UserWarning, match="samples with DDIM"):
        assert generate(pipeline, num_inference_steps=4).equal(ddim)


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        (EulerDiscreteScheduler(), "does not sample with EulerDiscreteScheduler"),
        (DDIMScheduler(steps_offset=0), "steps_offset=0"),
        (DDIMScheduler(steps_offset=1, rescale_betas_zero_snr=True), "rescale_betas_zero_snr=True"),
        (DPMSolverMultistepScheduler(steps_offset=1, solver_order=3), "solver_order=3"),
        (DPMSolverMultistepScheduler(use_karras_sigmas=True), "use_karras_sigmas=True"),
    ],
)
def test_schedulers_that_we_do_not_have_are_refused(scheduler: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        sampling_from(scheduler, ARTVSampling())
