"""Fréchet, Gaussian sums, kernel distance and Inception Score against closed forms and others."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.image.fid import _compute_fid

from evaluation.statistics import (
    Gaussian,
    Reference,
    frechet_distance,
    frechet_distance_of_features,
    frechet_distance_of_moments,
    inception_score,
    inception_score_of_gaussian,
    kernel_distance,
    shuffled,
)
from evaluation.statistics.inception import with_entropy
from lightning_artv.errors import UserError

torch.set_num_threads(1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def rotation(size: int, seed: int = 7) -> Tensor:
    return torch.linalg.qr(normal(size, size, seed=seed)).Q


def relative(value: Tensor | float, truth: Tensor | float) -> float:
    return abs(float(value) - float(truth)) / abs(float(truth))


# --- Fréchet: closed forms -----------------------------------------------------------------------


def commuting(size: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Covariances with common eigenvectors: the distance is |m|^2 + sum (sqrt a - sqrt b)^2."""
    q, a, b = rotation(size), torch.linspace(0.1, 3, size).double(), normal(size, seed=1).exp()
    mean_a, mean_b = normal(2, size, seed=2)
    truth = (mean_a - mean_b).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    return mean_a, q @ a.diag() @ q.T, mean_b, q @ b.diag() @ q.T, truth


def transported(size: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`C_b = T C_a T` with T > 0, not commuting: T is the optimal map, so the root is tr(C_a T)."""
    factor = normal(size, size, seed=3) / size**0.5
    cov_a = factor @ factor.T + 0.1 * torch.eye(size)
    q = rotation(size, seed=4)
    transport = q @ torch.linspace(0.5, 2, size).double().diag() @ q.T
    cov_b = transport @ cov_a @ transport
    mean_a, mean_b = normal(2, size, seed=5)
    root = (cov_a @ transport).trace()
    truth = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * root
    return mean_a, cov_a, mean_b, (cov_b + cov_b.T) / 2, truth


@pytest.mark.parametrize("case", [commuting, transported])
def test_frechet_of_closed_form_gaussians_in_400_dimensions(case):
    *moments, truth = case(400)
    assert relative(frechet_distance_of_moments(*moments), truth) < 1e-10


def test_frechet_of_an_ill_conditioned_closed_form():
    q, a = rotation(100), torch.logspace(0, -14, 100, dtype=torch.float64)
    b = a.flip(0)
    truth = (a.sqrt() - b.sqrt()).square().sum()
    zero = torch.zeros(100, dtype=torch.float64)
    value = frechet_distance_of_moments(zero, q @ a.diag() @ q.T, zero, q @ b.diag() @ q.T)
    assert relative(value, truth) < 1e-6


def test_frechet_of_disjoint_supports_is_the_sum_of_traces():
    """The product of the covariances is 0: rounding noise under a root would show here."""
    a, b = normal(300, 40), normal(300, 40, seed=1)
    a[:, 20:], b[:, :20] = 0, 0
    a, b = a @ rotation(40), b @ rotation(40)
    truth = a.var(dim=0).sum() + b.var(dim=0).sum() + (a.mean(0) - b.mean(0)).square().sum()
    assert relative(frechet_distance(Gaussian.of(a), Gaussian.of(b)), truth) < 1e-12


# --- Fréchet: others -----------------------------------------------------------------------------


def two_sets(samples: int, size: int) -> tuple[Tensor, Tensor]:
    spectrum = torch.arange(1, size + 1, dtype=torch.float64) ** -0.25
    a = normal(samples, size) * spectrum
    b = (normal(samples, size, seed=1) * spectrum) @ rotation(size) * 0.8 + 0.1
    return a, b


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(dim=0), x.T.cov()


def by_sqrtm(a: Tensor, b: Tensor) -> float:
    (mean_a, cov_a), (mean_b, cov_b) = moments(a), moments(b)
    root = np.trace(scipy.linalg.sqrtm((cov_a @ cov_b).numpy()).real)
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * root)


@pytest.mark.parametrize("samples", [16, 64, 400, 2048])
def test_frechet_agrees_with_sqrtm_and_torchmetrics(samples):
    a, b = two_sets(samples, 400)
    ours = frechet_distance(Gaussian.of(a), Gaussian.of(b))
    assert relative(by_sqrtm(a, b), ours) < 1e-6
    assert relative(_compute_fid(*moments(a), *moments(b)), ours) < 1e-6


@pytest.mark.parametrize(("n", "m"), [(2, 2), (16, 64), (64, 400), (401, 16), (399, 2048)])
def test_frechet_below_the_dimension_is_exact(n, m):
    """The nuclear norm of X Y^T knows no covariance, so nothing singular; also mixed."""
    a, b = two_sets(2048, 400)
    a, b = a[:n], b[:m]
    x, y = a - a.mean(0), b - b.mean(0)
    nuclear = np.linalg.norm((x @ y.T).numpy(), "nuc") / math.sqrt((n - 1) * (m - 1))
    truth = (a.mean(0) - b.mean(0)).square().sum() + x.square().sum() / (n - 1)
    truth = truth + y.square().sum() / (m - 1) - 2 * nuclear
    assert relative(frechet_distance(Gaussian.of(a), Gaussian.of(b)), truth) < 1e-11
    assert relative(frechet_distance_of_features(a, b), truth) < 1e-11


def test_few_samples_far_from_zero_are_exact():
    """Batch by batch, where rounding could leave variance that N samples do not have."""
    a, b = normal(16, 40) + 1e6, normal(24, 40, seed=1) + 1e6
    for one, two in ((a, b), (b, a)):
        parts = [sum(map(Gaussian.of, rows.split(3)), Gaussian.empty(40)) for rows in (one, two)]
        truth = frechet_distance_of_features(one, two)
        assert relative(frechet_distance(*parts), truth) < 1e-9


def test_frechet_of_a_full_and_a_flat_set():
    """The root has zero eigenvalues although one covariance is well-conditioned."""
    a, b = two_sets(500, 20)
    b = b @ (torch.arange(20) < 7).double().diag() @ rotation(20)
    x, y = a - a.mean(0), b - b.mean(0)
    root = np.linalg.norm((x @ y.T).numpy(), "nuc") / 499
    truth = (a.mean(0) - b.mean(0)).square().sum() + x.square().sum() / 499
    truth = truth + y.square().sum() / 499 - 2 * root
    for one, two in ((a, b), (b, a)):
        assert relative(frechet_distance(Gaussian.of(one), Gaussian.of(two)), truth) < 1e-12


@pytest.mark.parametrize("n", [30, 500])
def test_frechet_of_rank_deficient_features(n):
    """Columns that repeat others: the distance is that of the features left, in 20 dimensions."""
    a, b = two_sets(n, 20)
    wide = torch.cat([torch.eye(20), torch.zeros(20, 30)], dim=1).double() @ rotation(50)
    value = frechet_distance(Gaussian.of(a @ wide), Gaussian.of(b @ wide))
    assert relative(value, frechet_distance(Gaussian.of(a), Gaussian.of(b))) < 1e-9


def test_ddof_divides_the_scatter():
    a, b = two_sets(50, 8)
    cov = [np.cov(x.numpy().T, ddof=0) for x in (a, b)]
    truth = frechet_distance_of_moments(
        a.mean(0), torch.from_numpy(cov[0]), b.mean(0), torch.from_numpy(cov[1])
    )
    assert relative(frechet_distance(Gaussian.of(a), Gaussian.of(b), ddof=0), truth) < 1e-12
    few_a, few_b = a[:5], b[:6]
    of_features = frechet_distance_of_features(few_a, few_b, ddof=0)
    assert (
        relative(of_features, frechet_distance(Gaussian.of(few_a), Gaussian.of(few_b), ddof=0))
        < 1e-11
    )
    assert relative(of_features, frechet_distance_of_features(few_a, few_b)) > 0.01


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 30),
    m=st.integers(2, 30),
    size=st.integers(1, 12),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 1000),
)
def test_frechet_is_a_distance_that_ignores_rotation(n, m, size, scale, seed):
    a, b = normal(n, size, seed=seed) * scale, normal(m, size, seed=seed + 1) * scale + 1
    q = rotation(size, seed=seed)
    ab = float(frechet_distance(Gaussian.of(a), Gaussian.of(b)))
    total = float(a.var(0).sum() + b.var(0).sum()) + ab
    assert ab >= 0
    assert abs(float(frechet_distance(Gaussian.of(b), Gaussian.of(a))) - ab) < 1e-7 * total
    turned = frechet_distance(Gaussian.of(a @ q), Gaussian.of(b @ q))
    assert abs(float(turned) - ab) < 1e-7 * total
    assert 0 <= float(frechet_distance(Gaussian.of(a), Gaussian.of(a.flip(0)))) < 1e-7 * total
    assert abs(float(frechet_distance_of_features(a, b)) - ab) < 1e-7 * total


def test_frechet_refuses_what_it_cannot_compare():
    one, two, three = normal(1, 3), normal(2, 3), normal(9, 4)
    with pytest.raises(UserError, match="at least 2 samples, got 1"):
        frechet_distance(Gaussian.of(one), Gaussian.of(two))
    with pytest.raises(UserError, match="at least 2 samples, got 1"):
        frechet_distance_of_features(two, one)
    with pytest.raises(ValueError, match="one size"):
        frechet_distance(Gaussian.of(two), Gaussian.of(three))
    for wrong in (three, three[:2]):
        with pytest.raises(ValueError, match="one size"):
            frechet_distance_of_features(two, wrong)
    bad = torch.stack([two[0], torch.tensor([1.0, math.nan, 0.0]).double()])
    for broken in (bad, bad.nan_to_num(math.inf)):
        with pytest.raises(UserError, match="1 of 2 samples are not finite"):
            Gaussian.of(broken)
        with pytest.raises(UserError, match="not finite"):
            frechet_distance_of_features(two, broken)
    with pytest.raises(UserError, match="not finite"):
        frechet_distance_of_moments(two[0], torch.full((3, 3), math.inf), two[1], torch.eye(3))


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
