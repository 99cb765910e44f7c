"""The moving average against its closed form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_system import StubSystem

from lightning_artv.errors import UserError
from lightning_artv.training.ema import EMA
from lightning_artv.training.module import VideoModule


def test_constant_target_gives_the_geometric_closed_form() -> None:
    model, ema = VideoModule(StubSystem()), EMA(decay=0.9)
    start = {n: p.detach().clone() for n, p in model.system.trainable_parameters().items()}
    ema.track(model)
    with torch.no_grad():
        for parameter in model.system.trainable_parameters().values():
            parameter.add_(1.0)
    for _ in range(20):
        ema.update()
    for name, value in ema.weights().items():
        torch.testing.assert_close(value, start[name] + (1 - 0.9**20), rtol=1e-5, atol=1e-5)


def test_moved_weights_are_still_followed() -> None:
    """`Module.to`, or FSDP2 at its first forward, gives a parameter other memory after `track`."""
    model, ema = VideoModule(StubSystem()), EMA(decay=0.5)
    start = {n: p.detach().clone() for n, p in model.system.trainable_parameters().items()}
    ema.track(model)
    for parameter in model.system.trainable_parameters().values():
        parameter.data = parameter.data + 1.0
    ema.update()
    with ema.applied(model):
        pass
    ema.update()
    for name, value in ema.weights().items():
        torch.testing.assert_close(value, start[name] + 0.75)


@settings(max_examples=30, deadline=None)
@given(decay=st.floats(0.0, 0.9999), update=st.integers(0, 10**6))
def test_warmup_is_the_minimum_of_both(decay: float, update: int) -> None:
    assert EMA(decay, warmup=True).decay_at(update) == min(decay, (1 + update) / (10 + update))
    assert EMA(decay).decay_at(update) == decay


def test_a_small_step_is_not_lost_at_0_9999() -> None:
    """In bfloat16 this average would stay where it started."""
    model, ema = VideoModule(StubSystem().bfloat16()), EMA(decay=0.9999)
    with torch.no_grad():
        for parameter in model.system.trainable_parameters().values():
            parameter.fill_(0.5)
        ema.track(model)
        for parameter in model.system.trainable_parameters().values():
            parameter.fill_(1.0)
    for _ in range(100):
        ema.update()
    expected = 1 - 0.5 * 0.9999**100
    for value in ema.weights().values():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, torch.full_like(value, expected), rtol=1e-5, atol=1e-6)


def test_applied_swaps_and_restores_even_when_nested_or_interrupted() -> None:
    model, ema = VideoModule(StubSystem()), EMA(decay=0.5)
    ema._ready(model)
    weight = model.system.net[0].weight
    average = ema.weights()["net.0.weight"].clone()
    with torch.no_grad():
        weight.add_(1.0)
    live = weight.detach().clone()
    with pytest.raises(RuntimeError, match="stop"), ema.applied(model), ema.applied(model):
        assert torch.equal(weight, average)
        raise RuntimeError("stop")
    assert torch.equal(weight, live)
    assert torch.equal(ema.weights()["net.0.weight"], average)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5])
def test_a_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(UserError, match="decay"):
        EMA(decay)
