"""Neither a training step nor a denoising step waits for the device, nor it for them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from benchmarks.counters import Waits, batch, frames, generators
from benchmarks.full_size import PAPER, SMALL, build
from lightning_artv.batch import VideoBatch
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.settings import ARTVTraining

TRAINED = {
    "paper": ARTVTraining(),
    "small": ARTVTraining(loss_weighting="sample", reference_noise=0.1, huber=0.1),
    "own": ARTVTraining(own_references=0.5),
    "streams": ARTVTraining(streams=True, own_references=0.5, from_noise=0.5),
}


@pytest.fixture(scope="module")
def system() -> ARTV:
    return build(SMALL, "meta")


def train(system: ARTV, samples: VideoBatch, step: int) -> None:
    system.train().loss(samples, generators(samples, step)).loss.backward()


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_step_waits_for_nothing(system: ARTV, name: str) -> None:
    system.training_options = TRAINED[name]
    system.carry({})
    samples = batch(SMALL, 2, 3, "meta")
    train(system, samples, 0)  # tables are copied once
    with Waits() as waits:
        train(system, samples, 1)
    assert waits.found == []


def test_a_denoising_step_waits_for_nothing(system: ARTV) -> None:
    def waits(steps: int, **changes: Any) -> list[str]:
        settings = dataclasses.replace(PAPER, steps=steps, **changes)
        made = frames(system, SMALL, settings, 3)
        next(made), next(made)
        with Waits() as waits:
            next(made)
        return waits.found

    assert waits(2) == []
    assert waits(3, sampler="dpm-solver++", guided_from=0.4, deep_every=2) == []


def test_waits_are_seen() -> None:
    here, there = torch.ones(3), torch.ones(3, device="meta")
    with Waits() as waits:
        here.to("meta", non_blocking=True)
        here.tolist()
        there[torch.tensor([1], device="meta")] + 1.0
        assert not waits.found
        here.to("meta")
        there.copy_(here)
        there[torch.tensor([0, 1])]
        with pytest.raises(Exception, match="meta"):
            there.sum().item()
        with pytest.raises(Exception, match="meta"):
            there[there > 0]
    assert len(waits.found) >= 4
