"""The samplers against diffusers step by step, and against a closed form."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_artv.diffusion.noise import generators_for, randn
from lightning_artv.diffusion.plan import Level, ddim_plan, dpm_plan
from lightning_artv.diffusion.prediction import x0_from_eps
from lightning_artv.diffusion.samplers import Denoise, Sampled, Sampler, ddim_step, dpm_step
from lightning_artv.diffusion.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule.scaled_linear()
STABLE_DIFFUSION = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
}
SPACINGS = ["leading", "trailing", "linspace"]
MEAN, STD = 0.3, 0.7
NOISE = randn(generators_for(0, range(2)), (4, 3, 3))


def gaussian_eps(y_t: torch.Tensor, t: int) -> torch.Tensor:
    """The exact noise prediction for data drawn from N(MEAN, STD^2)."""
    alpha_bar = SCHEDULE.alpha_bar[t].item()
    variance = alpha_bar * STD**2 + 1 - alpha_bar
    return math.sqrt(1 - alpha_bar) * (y_t - math.sqrt(alpha_bar) * MEAN) / variance


def bent_eps(y_t: torch.Tensor, t: int) -> torch.Tensor:
    """A prediction that is linear in nothing, so that no error cancels."""
    return torch.tanh(y_t) + 0.3 * torch.cos(3 * y_t + t / 100)


def predicted_clean(
    y_t: torch.Tensor, eps: torch.Tensor, now: Level, clip: float = math.inf
) -> torch.Tensor:
    return x0_from_eps(y_t, eps, now.signal, now.noise).clamp(-clip, clip)


def clean_of(predict_noise: Denoise) -> Denoise:
    """What a sampler asks, of a function that predicts noise."""

    def denoise(y_t: torch.Tensor, t: int) -> torch.Tensor:
        alpha_bar = SCHEDULE.alpha_bar[t].item()
        level = Level(math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))
        return predicted_clean(y_t, predict_noise(y_t, t), level)

    return denoise


GAUSSIAN, BENT = clean_of(gaussian_eps), clean_of(bent_eps)


def ddim_scheduler(spacing: str, clip: float | None = None, to_one: bool = False) -> DDIMScheduler:
    return DDIMScheduler(
        **STABLE_DIFFUSION,
        timestep_spacing=spacing,
        set_alpha_to_one=to_one,
        clip_sample=clip is not None,
        clip_sample_range=clip or 1.0,
    )


@pytest.mark.parametrize("to_one", [False, True])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 7, 30, 48, 50, 999])
def test_ddim_equals_diffusers_step_by_step(steps, spacing, to_one):
    theirs = ddim_scheduler(spacing, to_one=to_one)
    theirs.set_timesteps(steps)
    plan = ddim_plan(SCHEDULE, steps, spacing, set_alpha_to_one=to_one)
    # diffusers' numpy.arange makes a step too many, at t = -1, for some counts
    assert [step.timestep for step in plan] == theirs.timesteps.tolist()[:steps]
    y_t = NOISE
    for step in plan:
        eps = bent_eps(y_t, step.timestep)
        expected = theirs.step(eps, step.timestep, y_t)
        clean = predicted_clean(y_t, eps, step.now)
        assert torch.allclose(clean, expected.pred_original_sample, rtol=1e-5, atol=1e-5)
        y_t = ddim_step(y_t, clean, step)
        assert torch.allclose(y_t, expected.prev_sample, rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(steps=st.integers(1, 999), spacing=st.sampled_from(SPACINGS))
def test_plans_choose_diffusers_timesteps(steps, spacing):
    theirs = ddim_scheduler(spacing)
    theirs.set_timesteps(steps)
    plan = ddim_plan(SCHEDULE, steps, spacing)
    assert [step.timestep for step in plan] == theirs.timesteps.tolist()[:steps]
    solver = DPMSolverMultistepScheduler(**STABLE_DIFFUSION, timestep_spacing=spacing)
    solver.set_timesteps(steps)
    if steps < 999:
        plan = dpm_plan(SCHEDULE, steps, spacing)
        assert [step.timestep for step in plan] == solver.timesteps.tolist()[:steps]


@pytest.mark.parametrize("clip", [1.0, 2.5])
def test_ddim_clipping_equals_diffusers_with_corrected_noise(clip):
    theirs = ddim_scheduler("leading", clip=clip)
    theirs.set_timesteps(20)
    y_t, clipped = NOISE, 0
    for step in ddim_plan(SCHEDULE, 20):
        eps = bent_eps(y_t, step.timestep)
        expected = theirs.step(eps, step.timestep, y_t, use_clipped_model_output=True)
        clean = predicted_clean(y_t, eps, step.now, clip)
        clipped += (clean.abs() == clip).sum().item()
        y_t = ddim_step(y_t, clean, step)
        assert torch.allclose(y_t, expected.prev_sample, rtol=1e-5, atol=1e-5)
    assert clipped


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_stochastic_ddim_equals_diffusers(eta):
    theirs = ddim_scheduler("leading")
    theirs.set_timesteps(25)
    y_t, generators = NOISE, generators_for(1, range(2))
    for step in ddim_plan(SCHEDULE, 25):
        eps, fresh = bent_eps(y_t, step.timestep), randn(generators, NOISE.shape[1:])
        expected = theirs.step(eps, step.timestep, y_t, eta=eta, variance_noise=fresh)
        y_t = ddim_step(y_t, predicted_clean(y_t, eps, step.now), step, eta, fresh)
        assert torch.allclose(y_t, expected.prev_sample, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("to_one", [True, False])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 3, 14, 15, 20, 48, 50, 300])
def test_dpm_solver_equals_diffusers_step_by_step(steps, spacing, to_one):
    theirs = DPMSolverMultistepScheduler(
        **STABLE_DIFFUSION,
        timestep_spacing=spacing,
        final_sigmas_type="zero" if to_one else "sigma_min",
    )
    theirs.set_timesteps(steps)
    expected, compared = [], NOISE
    if len(theirs.timesteps) != steps:
        pytest.skip("diffusers makes a step too many here")

    def denoise(y_t: torch.Tensor, t: int) -> torch.Tensor:
        eps = bent_eps(y_t, t)
        # from our latents, so that each step is compared on its own
        expected.append(theirs.step(eps, t, y_t).prev_sample)
        return eps

    seen: list[Sampled] = []
    sampler = Sampler(steps, "dpm-solver++", spacing, to_one)
    sampler.sample(clean_of(denoise), compared, SCHEDULE, on_step=seen.append)
    assert len(seen) == len(expected) == steps
    for mine, other in zip(seen, expected, strict=True):
        assert torch.allclose(mine.latents, other, rtol=1e-5, atol=1e-5), mine.index


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 10, 50])
def test_the_whole_ddim_run_equals_diffusers(steps, spacing):
    theirs = ddim_scheduler(spacing)
    theirs.set_timesteps(steps)
    expected = NOISE
    for t in theirs.timesteps:
        expected = theirs.step(gaussian_eps(expected, int(t)), int(t), expected).prev_sample
    mine = Sampler(steps, spacing=spacing).sample(GAUSSIAN, NOISE, SCHEDULE)
    assert torch.allclose(mine, expected, atol=2e-5)


def exact_flow(noise: torch.Tensor) -> torch.Tensor:
    """Where the probability flow carries noise from t = 999 to t = 0 for Gaussian data."""
    start, end = SCHEDULE.alpha_bar[-1].item(), SCHEDULE.alpha_bar[0].item()
    spread = math.sqrt((end * STD**2 + 1 - end) / (start * STD**2 + 1 - start))
    return math.sqrt(end) * MEAN + spread * (noise - math.sqrt(start) * MEAN)


def test_both_samplers_converge_to_the_closed_form_at_their_order():
    def error(sampler: str, steps: int) -> float:
        made = Sampler(steps, sampler, "trailing", False).sample(GAUSSIAN, NOISE, SCHEDULE)
        return (made - exact_flow(NOISE)).abs().max().item()

    first, second = error("ddim", 50), error("ddim", 200)
    assert first / second == pytest.approx(4, abs=0.5) and second < 0.02
    first, second = error("dpm-solver++", 50), error("dpm-solver++", 200)
    assert first / second > 8 and second < 0.006


def test_ancestral_sampling_keeps_the_variance_of_the_data():
    count = 4000
    noise = randn(generators_for(0, range(count)), ())
    generators = generators_for(1, range(count))
    sampler = Sampler(100, spacing="trailing", set_alpha_to_one=True, eta=1.0)
    made = sampler.sample(GAUSSIAN, noise, SCHEDULE, generators)
    assert made.mean().item() == pytest.approx(MEAN, abs=0.04)
    assert made.std().item() == pytest.approx(STD, abs=0.04)


def test_a_samples_noise_is_its_own_in_stochastic_sampling():
    def run(keys: list[str]) -> torch.Tensor:
        generators = generators_for(0, keys)
        noise = randn(generators, (4, 3, 3))
        return Sampler(5, eta=1.0).sample(BENT, noise, SCHEDULE, generators)

    assert torch.equal(run(["a", "b"])[1], run(["b"])[0])


def test_deterministic_sampling_draws_nothing():
    generators = generators_for(0, range(2))
    Sampler(3).sample(BENT, NOISE, SCHEDULE, generators)
    fresh = generators_for(0, range(2))
    assert torch.equal(randn(generators, (5,)), randn(fresh, (5,)))


@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++"])
def test_observers_see_every_step_and_the_end(sampler):
    seen: list[Sampled] = []
    asked: list[int] = []

    def denoise(y_t: torch.Tensor, t: int) -> torch.Tensor:
        asked.append(t)
        assert y_t.dtype == torch.float32
        return GAUSSIAN(y_t, t).bfloat16()

    solver = Sampler(8, sampler, clip=0.5)
    made = solver.sample(denoise, NOISE.bfloat16(), SCHEDULE, on_step=seen.append)
    assert made.dtype == torch.float32
    assert [s.index for s in seen] == list(range(8))
    assert [s.timestep for s in seen] == asked == sorted(asked, reverse=True)
    assert torch.equal(seen[-1].latents, made)
    assert all(s.clean.abs().max() <= 0.5 for s in seen)


def test_removing_all_noise_leaves_the_predicted_frame():
    """So a system whose prediction copies a pixel copies it exactly."""
    seen: list[Sampled] = []
    sampler = Sampler(4, set_alpha_to_one=True)
    made = sampler.sample(BENT, NOISE, SCHEDULE, on_step=seen.append)
    assert torch.allclose(made, seen[-1].clean, atol=1e-6)
    solver = Sampler(4, "dpm-solver++")
    made = solver.sample(BENT, NOISE, SCHEDULE, on_step=seen.append)
    assert torch.allclose(made, seen[-1].clean, atol=1e-6)


def test_ddim_may_use_the_whole_schedule():
    plan = ddim_plan(SCHEDULE, 1000)
    assert [step.timestep for step in plan] == list(range(999, -1, -1))


def test_nothing_keeps_gradients():
    noise = NOISE.clone().requires_grad_()
    assert not Sampler(2).sample(GAUSSIAN, noise, SCHEDULE).requires_grad


def test_dpm_step_without_history_is_ddim():
    step = dpm_plan(SCHEDULE, 10)[0]
    clean = predicted_clean(NOISE, bent_eps(NOISE, step.timestep), step.now)
    assert torch.allclose(dpm_step(NOISE, clean, step), ddim_step(NOISE, clean, step), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 0}, "steps must lie in 1 .. 1000"),
        ({"steps": 1001}, "steps must lie in 1 .. 1000"),
        ({"kind": "euler"}, "one of ddim, dpm-solver"),
        ({"spacing": "karras"}, "spacing must be"),
        ({"steps_offset": -1}, "steps_offset"),
        ({"eta": 1.0}, "one generator per sample"),
        ({"eta": 1.0, "kind": "dpm-solver++"}, "ddim"),
        ({"steps": 1000, "kind": "dpm-solver++"}, "use fewer steps"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(arguments, words):
    with pytest.raises(ValueError, match=words) as caught:
        Sampler(**arguments).sample(GAUSSIAN, NOISE, SCHEDULE)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
