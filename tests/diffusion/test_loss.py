"""Eq. 4 and its weightings."""

import pytest
import torch

from lightning_artv.diffusion.loss import clean_error, loss_weights
from lightning_artv.diffusion.prediction import x0_from_eps
from lightning_artv.diffusion.schedule import NoiseSchedule


def test_is_torchs_mse_sample_by_sample():
    a, b = torch.randn(2, 3, 4, 5, 5)
    expected = [torch.nn.functional.mse_loss(a[i], b[i]) for i in range(3)]
    assert torch.allclose(clean_error(a, b), torch.stack(expected))


def test_is_float32_for_half_precision_and_differentiable():
    a = torch.randn(2, 4, 3, 3, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = clean_error(a, torch.zeros(2, 4, 3, 3))
    assert loss.dtype == torch.float32 and loss.shape == (2,)
    assert torch.equal(loss, a.detach().float().square().mean(dim=(1, 2, 3)))
    loss.sum().backward()
    assert torch.isfinite(a.grad).all() and a.grad.abs().sum() > 0


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="but the true one"):
        clean_error(torch.zeros(2, 4, 3, 3), torch.zeros(2, 1, 3, 3))


def test_weights_turn_the_error_of_the_clean_latents_into_that_of_noise_and_velocity():
    """At one `y_t`, two noises, the clean latents they imply and the velocities."""
    schedule = NoiseSchedule.scaled_linear()
    t = torch.tensor([0, 300, 999])
    y_t, eps, eps_hat = torch.randn(3, 3, 4, 2, 2, dtype=torch.float64)
    signal, noise = (f(t).double().view(-1, 1, 1, 1) for f in (schedule.signal, schedule.noise))
    clean, truth = (x0_from_eps(y_t, e, signal, noise) for e in (eps_hat, eps))
    v_hat, v = (signal * e - noise * c for c, e in ((clean, eps_hat), (truth, eps)))
    for weighting, a, b in (("epsilon", eps_hat, eps), ("v", v_hat, v), ("sample", clean, truth)):
        error = (clean - truth).square().mean(dim=(1, 2, 3))
        weighted = loss_weights(schedule, t, weighting) * error
        assert torch.allclose(weighted, (a - b).square().mean(dim=(1, 2, 3)), rtol=1e-5)


def test_other_weightings_are_named():
    schedule = NoiseSchedule.scaled_linear()
    with pytest.raises(ValueError, match="epsilon, v or sample"):
        loss_weights(schedule, torch.tensor([0]), "x0")
