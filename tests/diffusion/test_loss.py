"""Eq. 4 and the min-SNR weights."""

import pytest
import torch

from lightning_artv.diffusion.loss import min_snr_weights, noise_mse
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


def test_min_snr_weights_are_capped_where_the_frame_is_nearly_clean():
    schedule = NoiseSchedule.scaled_linear()
    t = torch.arange(1000)
    weights, snr = min_snr_weights(schedule, t, gamma=5.0), schedule.snr(t)
    assert torch.allclose(weights * snr, torch.minimum(snr, torch.full_like(snr, 5.0)))
    assert weights[0] == pytest.approx(5 / (0.99915 / 0.00085), rel=1e-4)
    assert (weights[snr < 5] == 1).all() and (weights[snr > 5] < 1).all()
