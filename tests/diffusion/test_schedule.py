"""The schedule against its formulas and against diffusers."""

import pytest
import torch
from diffusers import DDIMScheduler

from lightning_artv.diffusion.schedule import NoiseSchedule, broadcast

SCHEDULES = [NoiseSchedule.scaled_linear(), NoiseSchedule.linear(), NoiseSchedule.cosine()]


@pytest.mark.parametrize(
    ("mine", "config"),
    [
        (
            NoiseSchedule.scaled_linear(),
            {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        ),
        (NoiseSchedule.linear(), {"beta_schedule": "linear"}),
        (NoiseSchedule.cosine(), {"beta_schedule": "squaredcos_cap_v2"}),
    ],
)
def test_equals_diffusers(mine, config):
    reference = DDIMScheduler(**config)
    assert torch.allclose(mine.alpha_bar.float(), reference.alphas_cumprod, rtol=5e-6, atol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_is_variance_preserving_and_decreasing(schedule):
    t = torch.arange(len(schedule))
    signal, noise = schedule.signal(t), schedule.noise(t)
    assert signal.dtype == noise.dtype == torch.float32
    assert torch.allclose(signal**2 + noise**2, torch.ones(len(schedule)), atol=1e-6)
    assert (schedule.alpha_bar.diff() < 0).all() and schedule.alpha_bar.dtype == torch.float64
    assert torch.allclose(schedule.snr(t), (signal / noise) ** 2, rtol=1e-4)


def test_stable_diffusions_ends():
    schedule = NoiseSchedule.scaled_linear()
    assert schedule.alpha_bar[0].item() == pytest.approx(1 - 0.00085, abs=1e-12)
    assert schedule.signal(torch.tensor([999])).item() == pytest.approx(0.0683, abs=1e-4)


def test_add_noise_is_equation_3_row_by_row():
    schedule = NoiseSchedule.scaled_linear()
    y0, eps, t = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2), torch.tensor([0, 500, 999])
    y_t = schedule.add_noise(y0, eps, t)
    for row in range(3):
        alpha_bar = schedule.alpha_bar[t[row]]
        expected = alpha_bar.sqrt() * y0[row] + (1 - alpha_bar).sqrt() * eps[row]
        assert torch.allclose(y_t[row], expected.float(), atol=1e-6)


def test_add_noise_stays_in_float32_inside_bf16_code():
    schedule = NoiseSchedule.scaled_linear()
    y0, eps = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    t = torch.tensor([300])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y_t = schedule.add_noise(y0.bfloat16(), eps, t)
    assert y_t.dtype == torch.float32
    assert torch.equal(y_t, schedule.add_noise(y0.bfloat16().float(), eps, t))


def test_broadcast_appends_axes():
    assert broadcast(torch.arange(3), torch.zeros(3, 4, 5, 6)).shape == (3, 1, 1, 1)
    assert broadcast(torch.arange(3), torch.zeros(3)).shape == (3,)


@pytest.mark.parametrize("t", [-1, 1000])
def test_a_timestep_outside_is_refused(t):
    with pytest.raises(ValueError, match=r"\[0, 1000\)"):
        NoiseSchedule.scaled_linear().signal(torch.tensor([t]))


def test_wrong_shapes_are_refused():
    schedule, y = NoiseSchedule.scaled_linear(), torch.zeros(2, 4, 2, 2)
    with pytest.raises(ValueError, match="one t a row"):
        schedule.add_noise(y, y, torch.tensor([1]))
    with pytest.raises(ValueError, match="one shape"):
        schedule.add_noise(y, y[:1], torch.tensor([1, 2]))


@pytest.mark.parametrize("betas", [[], [0.1, 1.0], [0.0], [[0.1]], [float("nan")]])
def test_betas_outside_their_range_are_refused(betas):
    with pytest.raises(ValueError, match="betas"):
        NoiseSchedule(torch.tensor(betas))
