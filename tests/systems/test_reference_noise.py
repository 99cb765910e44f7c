"""Faults in the references: what they are made of, and that only what is learned from has them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from make_system import MakeSystem
from torch import Tensor

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.augmentation import COARSE, faults
from lightning_artv.systems.artv.references import FrameConditions

KEYS = [f"k{i}" for i in range(400)]


def test_faults_are_fine_and_coarse_noise_of_a_strength_a_sample() -> None:
    references = torch.zeros(len(KEYS), 2, 3, 32, 32)
    noise = faults(references, 0.5, generators_for(0, KEYS))
    assert noise.shape == (len(KEYS), 1, 3, 32, 32)  # the same in both references
    assert noise.mean().abs() < 0.01
    # What a mean over 8 x 8 pixels leaves is the coarse part; the rest is the fine one.
    coarse = F.avg_pool2d(noise.squeeze(1), 8)
    fine = noise.squeeze(1) - F.interpolate(coarse, scale_factor=8)
    strengths = fine.flatten(1).std(dim=1)
    assert 0 < strengths.min() < 0.03 and 0.45 < strengths.max() < 0.6
    assert strengths.mean() == pytest.approx(0.25, abs=0.05)
    # Bilinear weights of 1/8, 3/4, 1/8 along an axis leave 0.59 of a standard deviation inside.
    assert coarse[..., 1:3, 1:3].std() == pytest.approx(0.594 * float(fine.std()), rel=0.1)
    assert torch.corrcoef(torch.stack([strengths, coarse.flatten(1).std(dim=1)]))[0, 1] > 0.9
    assert coarse.shape[-1] == COARSE


def prepared(system: ARTV, batch: VideoBatch) -> tuple[Tensor, FrameConditions]:
    y0, conditions, _ = system.prepare(batch, generators_for(0, batch.keys))
    return y0, conditions


def test_only_the_training_references_are_noised(
    make_system: MakeSystem, batch: VideoBatch
) -> None:
    options = {"max_noise_level": 0, "condition_dropout": 0.0}
    clean, noised = (make_system(**options, reference_noise=s).train() for s in (0.0, 0.4))
    (true, without), (y0, conditions) = prepared(clean, batch), prepared(noised, batch)
    assert torch.equal(y0, true)
    assert torch.equal(conditions.anchor, without.anchor)
    assert torch.equal(conditions.y_ref, conditions.references[:, 0])  # it is what is copied
    added = conditions.references - without.references
    torch.testing.assert_close(added[:, 0], added[:, 1])
    assert added.flatten(1).std(dim=1).min() > 0
    again = prepared(noised, batch)[1]
    assert torch.equal(again.references, conditions.references)
    assert torch.equal(prepared(noised.eval(), batch)[1].references, without.references)


def test_dropped_references_stay_empty(make_system: MakeSystem, batch: VideoBatch) -> None:
    system = make_system(reference_noise=0.4, first_frame_share=1.0).train()
    conditions = prepared(system, batch)[1]
    assert not conditions.references.any() and not conditions.has_reference.any()


def test_it_is_a_standard_deviation(make_system: MakeSystem) -> None:
    with pytest.raises(UserError, match=r"reference_noise is -0\.1: choose 0 or more"):
        make_system(reference_noise=-0.1)
