"""Gaussian sums, Inception Score, kernel distance, references against closed forms and others."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchmetrics.image.inception as torchmetrics_inception
from hypothesis import given, settings
from hypothesis import strategies as st
from known_features import normal, relative
from scipy.stats import entropy
from torch import Tensor

from evaluation.statistics import (
    Gaussian,
    Reference,
    inception_score,
    inception_score_of_gaussian,
    kernel_distance,
    shuffled,
)
from evaluation.statistics.inception import with_entropy
from lightning_artv.errors import UserError

torch.set_num_threads(1)


# --- Gaussian sums -------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(0, 103), max_size=8), offset=st.sampled_from([0.0, 1.0, 1e6]))
def test_merging_any_partition_is_one_pass(cuts, offset):
    rows = normal(103, 5) + offset
    edges = [0, *sorted(cuts), 103]
    merged = Gaussian.empty(5)
    for start, end in pairwise(edges):
        merged = merged + Gaussian.of(rows[start:end])
    assert merged.count == 103
    assert torch.allclose(merged.mean, rows.mean(0), rtol=1e-14, atol=1e-14)
    assert torch.allclose(merged.covariance(), rows.T.cov(), rtol=0, atol=1e-9 if offset else 1e-13)


def test_a_far_mean_costs_no_digits():
    """Sums of squares would have lost all of the variance here."""
    rows = normal(1000, 3) * 1e-3 + 1e6
    whole = sum((Gaussian.of(part) for part in rows.split(7)), Gaussian.empty(3))
    exact = (rows - 1e6).T.cov()
    assert float((whole.covariance() - exact).abs().max() / exact.abs().max()) < 1e-6


def test_sums_of_half_precision_features_are_float64():
    rows = normal(100, 4).half()
    assert torch.equal(Gaussian.of(rows).mean, rows.double().mean(dim=0))
    assert Gaussian.of(rows).scatter.dtype == torch.float64


def test_packing_is_invertible():
    there = Gaussian.of(normal(9, 4))
    back = Gaussian.unpack(there.pack())
    assert back.count == 9 and there.pack().shape == (6, 4)
    assert torch.equal(back.mean, there.mean) and torch.equal(back.scatter, there.scatter)


# --- Inception Score -----------------------------------------------------------------------------


def one_hot(samples: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.eye(101)[torch.randint(101, (samples,), generator=generator)]


@pytest.mark.parametrize(
    ("samples", "splits", "ceiling", "tolerance"),
    [(2048, 1, 98.6, 0.3), (2048, 10, 76.9, 0.8), (10_000, 1, 100.5, 0.1)],
)
def test_inception_score_of_one_hot_outputs(samples, splits, ceiling, tolerance):
    """The mean over draws; one draw of 2048 in one split has a standard deviation of 0.34."""
    scores = [inception_score(one_hot(samples, seed), splits) for seed in range(10)]
    assert scores[0].shape == (1 if splits == 1 else 20, splits)
    means = torch.stack([score.mean() for score in scores])
    assert abs(float(means.mean()) - ceiling) <= tolerance
    assert float((means - ceiling).abs().max()) <= 3 * tolerance


def softmax_rows(samples: int, classes: int = 7, seed: int = 0) -> Tensor:
    return (3 * normal(samples, classes, seed=seed)).softmax(dim=1)


def test_inception_score_is_salimans_formula():
    p = softmax_rows(60).numpy()
    kl = (p * (np.log(p) - np.log(p.mean(axis=0)))).sum(axis=1)
    assert relative(inception_score(torch.from_numpy(p)), np.exp(kl.mean())) < 1e-12


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), splits=st.integers(1, 10))
def test_inception_score_does_not_depend_on_the_order(seed, splits):
    rows = torch.cat([softmax_rows(50), one_hot(43)[:, :7].clamp(max=1), softmax_rows(10)])
    rows = rows[rows.sum(dim=1) > 0.5].float()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(
        inception_score(rows[order], splits), inception_score(rows, splits), rtol=1e-13, atol=0
    )


def test_splits_are_random_whatever_the_order():
    """Videos often come class by class: contiguous splits of them would score 10, not 77."""
    rows = one_hot(2048)
    in_classes = rows[rows.argmax(dim=1).argsort()]
    assert abs(float(inception_score(in_classes, 10).mean()) - 76.9) <= 0.8
    assert not torch.equal(inception_score(rows, 10, seed=0), inception_score(rows, 10, seed=1))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), samples=st.integers(10, 80), splits=st.integers(2, 10))
def test_one_division_is_the_fields(seed, samples, splits):
    """numpy's shuffle with a seed, `i * N // splits`, mean and sd by `numpy`: torch-fidelity's."""
    rows = softmax_rows(samples, seed=seed % 1000)
    p = rows.numpy()[np.random.RandomState(seed).permutation(samples)]
    parts = [p[i * samples // splits : (i + 1) * samples // splits] for i in range(splits)]
    expected = [np.exp(entropy(part, part.mean(axis=0), axis=1).mean()) for part in parts]
    scores = inception_score(rows, splits, seed, "once")
    assert scores.shape == (1, splits)
    assert np.abs(scores[0].numpy() / expected - 1).max() < 1e-12


def test_one_division_is_torchmetrics_too(monkeypatch):
    """torchmetrics draws its shuffle from torch's global numbers; here both shuffle alike."""
    logits = 3 * normal(120, 7)
    order = torch.from_numpy(np.random.RandomState(2020).permutation(120))
    theirs = torchmetrics_inception.InceptionScore(feature=torch.nn.Identity(), splits=10)
    theirs.update(logits)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randperm", lambda count: order)
        mean, sd = theirs.compute()
    ours = inception_score(logits.softmax(dim=1), 10, seed=2020, division="once")
    assert relative(ours.mean(), mean) < 1e-12
    assert relative(ours.std(), sd) < 1e-12
    assert abs(float(inception_score(logits.softmax(dim=1), 10, seed=2020).mean() - mean)) > 1e-3


def test_inception_score_of_sums_and_its_standard_error():
    scores = []
    uneven = 2 * torch.arange(7).double()  # with classes of one frequency their terms are constant
    for seed in range(200):
        rows = with_entropy((3 * normal(400, 7, seed=seed) - uneven).softmax(dim=1))
        score, error = inception_score_of_gaussian(Gaussian.of(rows))
        scores.append(float(score))
    assert relative(score, inception_score(rows[:, :-1])) < 1e-12
    assert relative(error, np.std(scores)) < 0.2


@pytest.mark.parametrize(
    ("rows", "splits", "error", "words"),
    [
        (softmax_rows(5), 6, UserError, "got 5 videos"),
        (softmax_rows(5), 0, UserError, "one split"),
        (normal(5, 3), 1, ValueError, "probabilities"),
        (softmax_rows(5) * 1.1, 1, ValueError, "probabilities"),
        (softmax_rows(5) * math.nan, 1, UserError, "not finite"),
    ],
)
def test_inception_score_refuses(rows, splits, error, words):
    with pytest.raises(error, match=words):
        inception_score(rows, splits)


def test_shuffled_keeps_rows_and_forgets_their_order():
    rows = normal(50, 3).float()
    rows[10:20] = rows[0]  # equal rows
    rows[:, 0] = rows[:, 0].round()  # ties in the first column
    mixed = rows[torch.randperm(50, generator=torch.Generator().manual_seed(3))]
    assert torch.equal(shuffled(rows, 0), shuffled(mixed, 0))
    assert not torch.equal(shuffled(rows, 0), shuffled(rows, 1))
    assert torch.equal(shuffled(rows, 0).sort(dim=0).values, rows.sort(dim=0).values)


# --- Kernel distance -----------------------------------------------------------------------------


def test_kernel_distance_is_the_textbook_sum_over_pairs():
    x, y = normal(9, 4), normal(7, 4, seed=1) + 0.5

    def k(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / 4 + 1) ** 3

    within = [
        sum(k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j)
        / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    between = sum(k(a, b) for a in x for b in y) / 63
    assert relative(kernel_distance(x, y).value, sum(within) - 2 * between) < 1e-12


def test_kernel_distance_in_blocks(monkeypatch):
    x, y = normal(33, 4), normal(20, 4, seed=1)
    whole = kernel_distance(x, y)
    monkeypatch.setattr("evaluation.statistics.kernel.BLOCK", 8)
    assert relative(kernel_distance(x, y).value, whole.value) < 1e-12


def test_kernel_distance_is_unbiased_and_knows_its_error():
    null = [kernel_distance(normal(40, 4, seed=s), normal(30, 4, seed=999 + s)) for s in range(300)]
    values = torch.tensor([n.value for n in null])
    assert abs(float(values.mean())) < 3 * float(values.std()) / 300**0.5
    for shift in ((1, 0), (0, 1)):
        apart = [
            kernel_distance(
                normal(80, 4, seed=s) + shift[0], normal(60, 4, seed=999 + s) + shift[1]
            )
            for s in range(200)
        ]
        errors = torch.tensor([a.standard_error for a in apart])
        assert relative(errors.mean(), torch.tensor([a.value for a in apart]).std()) < 0.2


def test_kernel_distance_refuses():
    with pytest.raises(UserError, match="got 1 real and 5 fake"):
        kernel_distance(normal(1, 3), normal(5, 3))
    with pytest.raises(ValueError, match="sizes"):
        kernel_distance(normal(5, 3), normal(5, 4))


# --- Reference -----------------------------------------------------------------------------------


@pytest.mark.parametrize("with_features", [False, True])
def test_a_reference_comes_back(tmp_path, with_features):
    rows = normal(4, 9).float().T  # not contiguous
    gaussian = Gaussian.empty(4) + Gaussian.of(rows)
    reference = Reference(gaussian, rows if with_features else None, {"protocol": "abc"})
    reference.save(tmp_path / "new" / "real.safetensors")
    back = Reference.load(tmp_path / "new" / "real.safetensors")
    assert back.gaussian.count == 9 and back.about == {"protocol": "abc"}
    assert torch.equal(back.gaussian.mean, gaussian.mean)
    assert torch.equal(back.gaussian.scatter, gaussian.scatter)
    assert (back.features is None) != with_features
    assert not with_features or torch.equal(back.features, rows)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["real.safetensors"]


def test_a_damaged_reference_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "real.safetensors"
    Reference(Gaussian.of(normal(9, 4)), normal(9, 4).float()).save(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match="cannot be read"):
        Reference.load(path)
    with pytest.raises(UserError, match="cannot be read"):
        Reference.load(tmp_path / "absent")
    good = {
        "count": torch.tensor(9),
        "mean": normal(4),
        "scatter": normal(4, 4),
        "features": normal(9, 4).float(),
    }
    changes = [
        {"extra": normal(1)},
        {"mean": normal(3)},
        {"mean": normal(4) * math.nan},
        {"mean": normal(4).float()},
        {"features": normal(8, 4)},
    ]
    for change in changes:
        save_file(good | change, path)
        with pytest.raises(UserError, match="no reference statistics"):
            Reference.load(path)
    no_features = {name: good[name] for name in ("count", "mean", "scatter")}
    for wrong in ({"mean": normal(4)}, no_features | {"count": torch.tensor(-1)}):
        save_file(wrong, path)
        with pytest.raises(UserError, match="no reference statistics"):
            Reference.load(path)
