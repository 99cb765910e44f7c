"""Metrics that need features: their numbers, their precision, their memory."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_features import FirstValues, noise_videos
from torch import Tensor

from evaluation.metrics import (
    FrameFID,
    FrechetVideoDistance,
    KernelVideoDistance,
    VideoInceptionScore,
)
from evaluation.metrics.base import VideoMetric
from evaluation.statistics import (
    Reference,
    frechet_distance_of_features,
    fvd_infinity,
    inception_score,
    kernel_distance,
)
from lightning_artv.errors import UserError

torch.set_num_threads(1)
REAL, FAKE = noise_videos(103), noise_videos(60, seed=1) // 2
NETWORK = FirstValues(20)


def fed(metric: VideoMetric, batch: int = 16) -> VideoMetric:
    for videos, real in ((REAL, True), (FAKE, False)):
        for chunk in videos.split(batch):
            metric.update(chunk, real=real)
    return metric


def state_bytes(metric: VideoMetric) -> int:
    """Of all that the states hold on to, views counted with what they are views of."""
    storages = {}
    for state in metric.metric_state.values():
        for tensor in state if isinstance(state, list) else [state]:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


# --- the numbers ---------------------------------------------------------------------------------


def test_fvd_is_the_frechet_distance_of_all_features():
    metric = fed(FrechetVideoDistance(NETWORK))
    truth = frechet_distance_of_features(NETWORK(REAL), NETWORK(FAKE))
    assert metric.compute().dtype == torch.float64 and metric.compute().shape == ()
    assert float(metric.compute()) == pytest.approx(float(truth), rel=1e-12)
    score = metric.result()
    assert (score.samples, score.reference_samples) == (60, 103)
    assert score.value == float(metric.compute())
    assert (metric.samples(real=True), metric.samples(real=False)) == (103, 60)
    other = fed(FrechetVideoDistance(NETWORK, ddof=0))
    truth = frechet_distance_of_features(NETWORK(REAL), NETWORK(FAKE), ddof=0)
    assert float(other.compute()) == pytest.approx(float(truth), rel=1e-12)


@pytest.mark.parametrize(("size", "direct"), [(100, False), (120, True)])
def test_kept_features_give_the_number_of_the_statistics(monkeypatch, size, direct):
    """With more dimensions than samples the kept features are taken as they are."""
    taken = []

    def noted(*arguments):
        taken.append(arguments)
        return frechet_distance_of_features(*arguments)

    monkeypatch.setattr("evaluation.metrics.frechet.frechet_distance_of_features", noted)
    plain, kept = (
        fed(FrechetVideoDistance(FirstValues(size), ddof=0, keep_features=keep))
        for keep in (False, True)
    )
    assert float(kept.compute()) == pytest.approx(float(plain.compute()), rel=1e-9)
    assert bool(taken) == direct


def test_frame_fid_pools_the_frames_that_are_left():
    network = FirstValues(10, frames=True)
    real, fake = noise_videos(40, frames=5), noise_videos(30, frames=5, seed=1) // 2
    metric = FrameFID(network, skip_first=2)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    rows = [v[:, 2:].reshape(-1, 3 * 4 * 5)[:, :10].double() / 255 for v in (real, fake)]
    truth = float(frechet_distance_of_features(*rows))
    assert metric.result().samples == 90
    assert float(metric.compute()) == pytest.approx(truth, rel=1e-6)
    with pytest.raises(UserError, match="at least 3 frames, got 2"):
        metric.update(fake[:, :2], real=False)


def test_kvd_is_the_kernel_distance_of_all_features():
    metric = fed(KernelVideoDistance(NETWORK))
    truth = kernel_distance(NETWORK(REAL), NETWORK(FAKE))
    score = metric.result()
    assert score.value == pytest.approx(truth.value, rel=1e-12)
    assert score.standard_error == pytest.approx(truth.standard_error, rel=1e-12)
    assert (score.samples, score.reference_samples) == (60, 103)


@pytest.mark.parametrize("splits", [1, 10])
def test_inception_score_of_all_probabilities(splits):
    network = FirstValues(12, softmax=True)
    metric = VideoInceptionScore(network, splits)
    backwards = VideoInceptionScore(network, splits)
    for chunk in REAL.split(16):
        metric.update(chunk)
    for chunk in REAL.flip(0).split(9):
        backwards.update(chunk)
    truth = inception_score(network(REAL), splits)
    score = metric.result()
    assert score.value == pytest.approx(float(truth.mean()), rel=1e-12)
    assert float(backwards.compute()) == pytest.approx(score.value, rel=1e-12)
    assert score.samples == 103
    assert (score.sd is None) == (splits == 1) and (score.standard_error is None) == (splits > 1)
    if splits > 1:
        assert score.sd == pytest.approx(float(truth.std(correction=0)), rel=1e-9)


def test_inception_score_divided_once_takes_the_videos_as_they_come():
    network = FirstValues(12, softmax=True)
    metric = VideoInceptionScore(network, splits=10, seed=7, division="once")
    for chunk in REAL.split(16):
        metric.update(chunk)
    truth = inception_score(network(REAL), 10, seed=7, division="once")
    score = metric.result()
    assert score.value == pytest.approx(float(truth.mean()), rel=1e-12)
    assert score.sd == pytest.approx(float(truth.std(correction=0)), rel=1e-9)
    assert score.value != pytest.approx(float(inception_score(network(REAL), 10, seed=7).mean()))


def test_fvd_infinity_needs_the_features():
    with pytest.raises(UserError, match="keep_features"):
        fed(FrechetVideoDistance(NETWORK)).infinity()
    metric = fed(FrechetVideoDistance(NETWORK, ddof=0, keep_features=True))
    there = metric.infinity(seed=3)
    assert there == fvd_infinity(NETWORK(REAL), NETWORK(FAKE), ddof=0, seed=3)
    assert there.finite == pytest.approx(metric.result().value, rel=1e-9)


# --- what a reader must know ---------------------------------------------------------------------


def test_bias_is_said():
    assert fed(FrechetVideoDistance(NETWORK)).result().notes == (
        "Unequal N: 103 real and 60 generated videos; compare only with numbers of the same "
        "counts.",
    )
    metric = FrechetVideoDistance(FirstValues(80), expected_real=103, expected_fake=2048)
    notes = fed(metric).result().notes
    assert len(notes) == 3
    assert "60 generated videos where the protocol asks for 2048" in notes[0]
    assert "60 videos span fewer dimensions than the 80 features" in notes[2]
    metric = FrechetVideoDistance(NETWORK, expected_real=104, expected_fake=60)
    assert "103 real videos where the protocol asks for 104" in fed(metric).result().notes[0]


def test_too_few_or_broken_videos_are_refused():
    metric = FrechetVideoDistance(NETWORK)
    metric.update(REAL, real=True)
    metric.update(FAKE[:1], real=False)
    with pytest.raises(UserError, match="at least 2 generated videos, got 1"):
        metric.compute()
    NETWORK.scale.fill_(math.nan)
    try:
        with pytest.raises(UserError, match="features of 5 of 5 samples are not finite"):
            metric.update(FAKE[:5], real=False)
    finally:
        NETWORK.scale.fill_(1)
    for wrong in (REAL.float(), REAL[0], REAL[:, :, :2], REAL[:0]):
        with pytest.raises(ValueError, match="uint8"):
            metric.update(wrong, real=True)
    assert metric.samples(real=True) == 103 and metric.samples(real=False) == 1


# --- references ----------------------------------------------------------------------------------


def test_a_stored_reference_stands_in_for_the_real_videos(tmp_path):
    whole = fed(FrechetVideoDistance(NETWORK, keep_features=True))
    whole.collected(real=True, about={"protocol": "abc"}).save(tmp_path / "real.safetensors")
    reference = Reference.load(tmp_path / "real.safetensors")
    assert reference.about == {"protocol": "abc"}
    stored = FrechetVideoDistance(NETWORK, keep_features=True, reference=reference)
    kernel = KernelVideoDistance(NETWORK, reference=reference)
    for metric in (stored, kernel):
        metric.update(FAKE, real=False)
        with pytest.raises(UserError, match="generated videos only"):
            metric.update(REAL, real=True)
    assert float(stored.compute()) == pytest.approx(float(whole.compute()), rel=1e-12)
    assert stored.infinity() == whole.infinity()
    assert stored.samples(real=True) == 103
    all_videos = fed(KernelVideoDistance(NETWORK))
    assert float(kernel.compute()) == pytest.approx(float(all_videos.compute()), rel=1e-12)
    stored.reset()
    assert stored.samples(real=True) == 103 and stored.samples(real=False) == 0


def test_a_reference_that_does_not_fit_is_refused():
    plain = fed(FrechetVideoDistance(NETWORK)).collected(real=True)
    assert plain.features is None
    with pytest.raises(UserError, match="20 features and the network 21"):
        FrechetVideoDistance(FirstValues(21), reference=plain)
    with pytest.raises(UserError, match="lacks"):
        FrechetVideoDistance(NETWORK, keep_features=True, reference=plain)
    with pytest.raises(UserError, match="lacks"):
        KernelVideoDistance(NETWORK, reference=plain)


# --- merging, precision, memory ------------------------------------------------------------------


def makers() -> dict[str, VideoMetric]:
    return {
        "fvd": FrechetVideoDistance(NETWORK),
        "fvd-kept": FrechetVideoDistance(NETWORK, keep_features=True),
        "kvd": KernelVideoDistance(NETWORK),
    }


@pytest.mark.parametrize("name", list(makers()))
@settings(max_examples=15, deadline=None)
@given(cuts=st.tuples(st.integers(0, 103), st.integers(0, 60)), batch=st.integers(1, 40))
def test_merging_two_states_is_one_pass(name, cuts, batch):
    whole, left, right = (makers()[name] for _ in range(3))
    fed(whole)
    for videos, real, cut in ((REAL, True, cuts[0]), (FAKE, False, cuts[1])):
        for metric, part in ((left, videos[:cut]), (right, videos[cut:])):
            for chunk in part.split(batch) if len(part) else ():
                metric.update(chunk, real=real)
    left.merge_state(right)
    assert abs(float(left.compute()) - float(whole.compute())) <= 1e-9


def test_merging_forgets_the_number_from_before():
    left, right = (VideoInceptionScore(FirstValues(12, softmax=True)) for _ in range(2))
    left.update(REAL)
    before = left.compute()
    right.update(FAKE)
    left.merge_state(right)
    assert left.compute() != before and left.result().samples == 163


def test_a_merged_metric_goes_on():
    left, right = (FrechetVideoDistance(NETWORK, keep_features=True) for _ in range(2))
    left.update(REAL[:50], real=True)
    right.update(REAL[50:90], real=True)
    left.merge_state(right)
    left.update(REAL[90:], real=True)
    left.update(FAKE, real=False)
    whole = fed(FrechetVideoDistance(NETWORK, keep_features=True))
    assert float(left.compute()) == pytest.approx(float(whole.compute()), rel=1e-12)
    assert left.infinity() == whole.infinity()


def degraded(metric: VideoMetric, how: str) -> VideoMetric:
    if how == "set_dtype":
        return metric.set_dtype(torch.float16)
    if how == "to":
        return metric.to(torch.bfloat16)
    return getattr(metric, how)()


@pytest.mark.parametrize("how", ["half", "bfloat16", "float", "to", "set_dtype"])
def test_no_cast_degrades_states_or_network(how):
    network = FirstValues(20)
    metric = fed(FrechetVideoDistance(network, keep_features=True))
    before = metric.compute()
    metric = degraded(metric, how)
    metric.update(REAL[:1], real=True)
    assert metric.real.dtype == torch.float64
    assert network.scale.dtype == torch.float32
    assert {rows.dtype for rows in metric.real_features} == {torch.float32}
    metric = degraded(fed(FrechetVideoDistance(network)), how)
    assert metric.compute() == before
    metric.reset()
    assert metric.real.dtype == torch.float64


def grown(metric: VideoMetric, videos: Tensor, sides: bool) -> tuple[int, int]:
    """State bytes after 16 and after 64 videos a side."""
    sizes = []
    for start in range(0, 64, 16):
        chunk = videos[start : start + 16]
        for real in (True, False) if sides else (None,):
            metric.update(chunk) if real is None else metric.update(chunk, real=real)
        sizes.append(state_bytes(metric))
    return sizes[0], sizes[-1]


@pytest.mark.parametrize(
    ("metric", "sides", "bytes_a_video"),
    [
        (FrechetVideoDistance(NETWORK), True, 0),
        (FrameFID(FirstValues(10, frames=True)), True, 0),
        (VideoInceptionScore(FirstValues(12, softmax=True)), False, 0),
        # documented exceptions: one float32 vector a video
        (FrechetVideoDistance(NETWORK, keep_features=True), True, 2 * 20 * 4),
        (KernelVideoDistance(NETWORK), True, 2 * 20 * 4),
        (VideoInceptionScore(FirstValues(12, softmax=True), splits=10), False, 12 * 4),
    ],
)
def test_memory_does_not_grow_with_the_videos(metric, sides, bytes_a_video):
    after_16, after_64 = grown(metric, REAL, sides)
    assert after_16 > 0 and after_64 - after_16 == 48 * bytes_a_video
