"""Eq. 4 and its weightings."""

import pytest
import torch

from lightning_artv.diffusion.loss import loss_weights, noise_mse
from lightning_artv.diffusion.prediction import eps_from_v, x0_from_eps
from lightning_artv.diffusion.schedule import NoiseSchedule


def test_is_torchs_mse_sample_by_sample():
    a, b = torch.randn(2, 3, 4, 5, 5)
    expected = [torch.nn.functional.mse_loss(a[i], b[i]) for i in range(3)]
    assert torch.allclose(noise_mse(a, b), torch.stack(expected))


def test_is_float32_for_half_precision_and_differentiable():
    a = torch.randn(2, 4, 3, 3, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = noise_mse(a, torch.zeros(2, 4, 3, 3))
    assert loss.dtype == torch.float32 and loss.shape == (2,)
    assert torch.equal(loss, a.detach().float().square().mean(dim=(1, 2, 3)))
    loss.sum().backward()
    assert torch.isfinite(a.grad).all() and a.grad.abs().sum() > 0


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="but the true one"):
        noise_mse(torch.zeros(2, 4, 3, 3), torch.zeros(2, 1, 3, 3))


def test_v_weights_turn_the_noise_error_into_the_error_in_velocity():
    schedule = NoiseSchedule.scaled_linear()
    t = torch.tensor([0, 300, 999])
    y_t, v, v_hat = torch.randn(3, 3, 4, 2, 2)
    signal, noise = (f(t).view(-1, 1, 1, 1) for f in (schedule.signal, schedule.noise))
    error = noise_mse(eps_from_v(y_t, v_hat, signal, noise), eps_from_v(y_t, v, signal, noise))
    weighted = loss_weights(schedule, t, "v") * error
    assert torch.allclose(weighted, (v_hat - v).square().mean(dim=(1, 2, 3)), rtol=1e-3)


def test_sample_weights_turn_the_noise_error_into_the_error_of_the_clean_frame():
    schedule = NoiseSchedule.scaled_linear()
    t = torch.tensor([0, 300, 999])
    y_t, eps, eps_hat = torch.randn(3, 3, 4, 2, 2)
    signal, noise = (f(t).view(-1, 1, 1, 1) for f in (schedule.signal, schedule.noise))
    clean, truth = (x0_from_eps(y_t, e, signal, noise) for e in (eps_hat, eps))
    weighted = loss_weights(schedule, t, "sample") * noise_mse(eps_hat, eps)
    assert torch.allclose(weighted, (clean - truth).square().mean(dim=(1, 2, 3)), rtol=1e-3)


def test_the_papers_weighting_is_one_and_others_are_named():
    schedule = NoiseSchedule.scaled_linear()
    assert torch.equal(loss_weights(schedule, torch.tensor([0, 999]), "epsilon"), torch.ones(2))
    with pytest.raises(ValueError, match="epsilon, v or sample"):
        loss_weights(schedule, torch.tensor([0]), "x0")
