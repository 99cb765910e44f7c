"""Metrics over real processes: 1, 2 and 4 ranks give the number of one pass."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from forks import ended
from known_features import FirstValues, noise_videos

from evaluation.metrics import (
    DriftCurve,
    Flicker,
    FrechetVideoDistance,
    KernelVideoDistance,
    VideoInceptionScore,
)

SAMPLES, SIZE = 103, 400
# Ranks get unequal shares, one of four none at all.
SHARES = {1: [(0, 103)], 2: [(0, 70), (70, 103)], 4: [(0, 31), (31, 31), (31, 90), (90, 103)]}


def numbers(start: int, end: int, group: dist.ProcessGroup | None = None) -> dict[str, float]:
    """All metrics of a share of 103 real and 103 generated videos, and of its group's others."""
    real = noise_videos(SAMPLES, frames=3, height=7, width=7)
    fake = noise_videos(SAMPLES, frames=3, height=7, width=7, seed=1) // 2
    features, classes = FirstValues(SIZE), FirstValues(12, softmax=True)
    fvd = FrechetVideoDistance(features, keep_features=True)
    kvd = KernelVideoDistance(features)
    scores = {splits: VideoInceptionScore(classes, splits) for splits in (1, 10)}
    flicker, drift = Flicker(), DriftCurve(frames=3)
    metrics = [fvd, kvd, *scores.values(), flicker, drift]
    for metric in metrics:
        metric.process_group = group
    for first in range(start, end, 16):
        part = slice(first, min(end, first + 16))
        for metric in (fvd, kvd):
            metric.update(real[part], real=True)
            metric.update(fake[part], real=False)
        for metric in (*scores.values(), flicker, drift):
            metric.update(fake[part])
    found = {
        "fvd": float(fvd.compute()),
        "fvd again": fvd.result().value,
        "samples": fvd.samples(real=False),
        "collected": fvd.collected(real=True).gaussian.count,
        "kvd": kvd.result().value,
        "is": scores[1].result().value,
        "is in splits": scores[10].result().value,
        "flicker": flicker.result().value,
        "drift": float(drift.compute().sum()),
        "drift samples": drift.result().samples,
        "infinity": fvd.infinity().value,
    }
    fvd.update(real[:1], real=True)  # a rank goes on with its own states
    found["local"] = int(fvd.real[0, 0])
    return found


def rank(index: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=index, world_size=4)
    results = {4: numbers(*SHARES[4][index])}
    pair = dist.new_group([0, 1])
    if index < 2:
        results[2] = numbers(*SHARES[2][index], group=pair)
    torch.save(results, f"{folder}/{index}.pt")
    dist.barrier()
    dist.destroy_process_group()


def all_ranks(folder: str) -> None:
    """Fork them; they would lose the threads that a process may hold after other tests."""
    mp.start_processes(rank, (folder,), nprocs=4, start_method="fork")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[int, dict[str, float]]]:
    folder = tmp_path_factory.mktemp("ranks")
    done = ended(folder / "log", all_ranks, str(folder))
    assert done.code == 0, done.said
    return [torch.load(folder / f"{i}.pt", weights_only=True) for i in range(4)]


@pytest.fixture(scope="module")
def alone() -> dict[str, float]:
    torch.set_num_threads(1)
    return numbers(0, SAMPLES)


@pytest.mark.parametrize("ranks", [2, 4])
def test_merging_over_ranks_is_one_pass(results, alone, ranks):
    for index in range(ranks):
        found = results[index][ranks]
        start, end = SHARES[ranks][index]
        assert found.pop("local") == end - start + 1
        for name, value in found.items():
            assert abs(value - alone[name]) <= 1e-9, name


def test_one_pass_saw_all(alone):
    assert alone["samples"] == alone["collected"] == alone["drift samples"] == SAMPLES
    assert alone["fvd"] > 1 and alone["is"] > 1.05 and alone["kvd"] != 0
