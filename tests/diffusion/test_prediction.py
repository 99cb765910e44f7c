"""eps, x0 and v are three names of one thing."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_artv.diffusion import prediction

ANGLES = st.floats(0.05, math.pi / 2 - 0.05)


@given(angle=ANGLES, seed=st.integers(0, 100))
def test_every_way_round(angle, seed):
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, 8, dtype=torch.float64, generator=generator)
    signal, noise = math.cos(angle), math.sin(angle)
    y_t = signal * x0 + noise * eps
    v = signal * eps - noise * x0
    # v is the derivative of y_t by the angle
    step = 1e-6
    ahead = math.cos(angle + step) * x0 + math.sin(angle + step) * eps
    assert torch.allclose((ahead - y_t) / step, v, atol=1e-5)
    for made, expected in [
        (prediction.x0_from_eps(y_t, eps, signal, noise), x0),
        (prediction.eps_from_x0(y_t, x0, signal, noise), eps),
        (prediction.x0_from_v(y_t, v, signal, noise), x0),
        (
            prediction.eps_from_x0(y_t, prediction.x0_from_v(y_t, v, signal, noise), signal, noise),
            eps,
        ),
    ]:
        assert torch.allclose(made, expected, atol=1e-10)


def test_coefficients_may_differ_by_row():
    x0, eps = torch.randn(2, 3, 4, 2, 2)
    signal = torch.tensor([0.9, 0.5, 0.1]).reshape(3, 1, 1, 1)
    noise = (1 - signal**2).sqrt()
    y_t = signal * x0 + noise * eps
    assert torch.allclose(prediction.x0_from_eps(y_t, eps, signal, noise), x0, atol=1e-5)
