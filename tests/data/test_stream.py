"""Batches: each usable sample once a pass, over any ranks, workers, damage and resume points."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from videos import write_shards
from waiting import GUARD

from lightning_artv.batch import VideoBatch
from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.position import Position, order
from lightning_artv.data.shards import ClipSettings, Place, Sample, ShardDataset, collate
from lightning_artv.data.stats import Fate, Outcome, Problem, Stats
from lightning_artv.data.stream import BatchStream, joined
from lightning_artv.data.tar import ShardWriter
from lightning_artv.data.windows import Window, Windows
from lightning_artv.errors import DataError, UserError
from lightning_artv.systems.artv.windows import NextFrame

START = Position()


class Unwilling(Windows):
    """Refuses every clip."""

    @property
    def least(self) -> int:
        return 2

    def choose(self, count: int, rng: random.Random) -> Window:
        raise UserError(f"No window of {count} frames.")


CLIPS = ClipSettings(NextFrame(), (32, 32), fps=8)
pytestmark = pytest.mark.filterwarnings("ignore:Skipped a corrupt", "ignore:This DataLoader")


class Numbers(ShardDataset):
    """Samples that are only their names, `pass:number`; some are unusable."""

    def __init__(self, count: int, unusable: Sequence[int] = (), shuffle: int = 7) -> None:
        self.count, self.unusable, self.shuffle = count, set(unusable), shuffle
        self.stats = Stats(1.0, total=10**9)  # a rank may meet unusable ones only

    def __len__(self) -> int:
        return self.count

    def order(self, epoch: int) -> NDArray[np.int64]:
        return order(np.array([self.count]), 0, epoch, self.shuffle)

    def read(self, place: Place) -> tuple[Sample | None, Outcome]:
        key = f"{place.epoch}:{place.number}"
        if place.number in self.unusable:
            return None, Outcome(Fate.CORRUPT, Problem(key, "0.tar", "unusable"))
        window = torch.full((4, 3, 1, 1), place.number, dtype=torch.uint8)
        return Sample(window, torch.arange(4)[None], key, key), Outcome()


def stream(
    dataset: ShardDataset,
    batch_size: int,
    position: Position = START,
    rank: int = 0,
    workers: int = 0,
    endless: bool = True,
) -> BatchStream:
    return BatchStream(dataset, batch_size, workers, rank, lambda: position, endless)


def first(batches: BatchStream, count: int) -> list[VideoBatch]:
    return list(islice(batches, count))


def keys(batches: Sequence[VideoBatch]) -> list[str]:
    return [key for batch in batches for key in batch.keys]


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_each_usable_sample_comes_once_a_pass_whatever_happens(data: st.DataObject) -> None:
    """Several runs one after another, each on some ranks with some batch size; then one reads on.

    A rank's batches that were read ahead and not trained on are dropped with its run, as by a kill.
    """
    count = data.draw(st.integers(1, 23))
    unusable = data.draw(st.sets(st.integers(0, count - 1), max_size=count - 1))
    usable = count - len(unusable)
    position, seen = Position(), Counter[str]()
    for _ in range(data.draw(st.integers(1, 3))):
        ranks = data.draw(st.integers(1, 4))
        size, steps = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 6))
        position, taken = position.divided(ranks), []
        for rank in range(ranks):
            batches = first(stream(Numbers(count, unusable), size, position, rank), steps + 2)
            assert all(len(batch) == size for batch in batches)
            trained = batches[:steps]
            seen.update(keys(trained))
            used = [batch.position for batch in trained]
            taken.append(used[-1] if used else position.taken[rank])
        position = replace(position, taken=tuple(taken))
    position = position.divided(1)
    furthest = max((int(key.split(":")[0]) for key in seen), default=0)
    for key in keys(first(stream(Numbers(count, unusable), 1, position), (furthest + 2) * usable)):
        seen[key] += 1
    good = [n for n in range(count) if n not in unusable]
    for epoch in range(furthest + 1):
        assert all(seen[f"{epoch}:{number}"] == 1 for number in good)
    assert set(seen.values()) == {1}


@settings(deadline=None, max_examples=60)
@given(
    unusable=st.sets(st.integers(0, 10), max_size=9),
    ranks=st.integers(1, 3),
    stop=st.integers(0, 8),
    size=st.integers(1, 6),
)
def test_a_resumed_stream_gives_the_same_batches(
    unusable: set[int], ranks: int, stop: int, size: int
) -> None:
    """Resumed after any batch on as many ranks: not only the same samples, the same batches."""
    start = Position((0,) * ranks)
    whole = [first(stream(Numbers(11, unusable), size, start, r), stop + 4) for r in range(ranks)]
    ends = [batches[stop - 1].position if stop else 0 for batches in whole]
    position = Position(tuple(int(end or 0) for end in ends))
    for rank, batches in enumerate(whole):
        resumed = first(stream(Numbers(11, unusable), size, position, rank), 4)
        for one, two in zip(batches[stop:], resumed, strict=True):
            assert (one.keys, one.captions, one.position) == (two.keys, two.captions, two.position)
            assert torch.equal(one.frames, two.frames)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_nothing(workers: int) -> None:
    unusable = (2, 3, 4, 5, 9)
    alone = first(stream(Numbers(13, unusable), 4), 9)
    together = first(stream(Numbers(13, unusable), 4, workers=workers), 9)
    assert [(b.keys, b.position) for b in alone] == [(b.keys, b.position) for b in together]
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("shards", [1, 3, 7])
@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (2, 1), (3, 0), (1, 2)])
def test_a_finite_stream_covers_real_shards_once(
    tmp_path: Path, shards: int, ranks: int, workers: int
) -> None:
    expected = write_shards(tmp_path, videos=14, per_shard=-(-14 // shards))
    found: list[str] = []
    for rank in range(ranks):
        dataset = ShardDataset(tmp_path, CLIPS, shuffle=5)
        position = Position((0,) * ranks)
        batches = list(stream(dataset, 4, position, rank, workers, endless=False))
        assert all(len(batch) == 4 for batch in batches[:-1])
        found += keys(batches)
        assert dataset.stats.counts.used == len(keys(batches)) == dataset.stats.counts.seen
    assert sorted(found) == expected


def test_more_ranks_than_samples(tmp_path: Path) -> None:
    expected = write_shards(tmp_path, videos=2, per_shard=2)
    dataset, position = ShardDataset(tmp_path, CLIPS), Position((0,) * 5)
    finite = [list(stream(dataset, 2, position, r, endless=False)) for r in range(5)]
    assert sorted(keys([b for batches in finite for b in batches])) == expected
    endless = [first(stream(dataset, 2, position, rank), 2) for rank in range(5)]
    assert Counter(keys([b for batches in endless for b in batches])) == dict.fromkeys(expected, 10)


def write_mixed(folder: Path, kinds: str) -> None:
    """`g` good, `b` corrupt, `s` too short."""
    from videos import numbered

    videos = {
        "g": encode_lossless(numbered(4), 8),
        "b": b"nonsense",
        "s": encode_lossless(numbered(1), 8),
    }
    with ShardWriter(folder) as writer:
        for index, kind in enumerate(kinds):
            writer.write(f"{kind}{index}", videos[kind], "text", {})


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:Skipped a video")
def test_counters_are_right(tmp_path: Path, workers: int) -> None:
    write_mixed(tmp_path, "gbgsggbg")
    dataset = ShardDataset(tmp_path, CLIPS, max_corrupt_share=0.5)
    assert keys(list(stream(dataset, 2, workers=workers, endless=False))) == [
        *("g0", "g2", "g4", "g5", "g7")
    ]
    counts = dataset.stats.counts
    assert (counts.seen, counts.used, counts.corrupt, counts.short) == (8, 5, 2, 1)
    assert [problem.key for problem in dataset.stats.examples] == ["b1", "s3", "b6"]


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_data_ends_an_endless_stream_with_one_sentence(tmp_path: Path, workers: int) -> None:
    write_mixed(tmp_path, "bbb")
    dataset = ShardDataset(tmp_path, CLIPS, max_corrupt_share=1.0)
    with pytest.raises(DataError, match=r"^None of the 3 samples can be used \(3 corrupt"):
        first(stream(dataset, 2, workers=workers), 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_option_that_does_not_fit_is_one_sentence_from_a_worker_too(
    tmp_path: Path, workers: int
) -> None:
    write_mixed(tmp_path, "gg")
    dataset = ShardDataset(tmp_path, replace(CLIPS, windows=Unwilling()))
    with pytest.raises(UserError) as raised:
        first(stream(dataset, 2, workers=workers), 1)
    assert str(raised.value).startswith("No window of")
    assert "\n" not in str(raised.value)


def test_samples_of_two_kinds_are_one_sentence_across_chunks() -> None:
    window = Sample(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.arange(4)[None], "", "a")
    other = replace(window, frames=torch.zeros(4, 8, 1, 1, dtype=torch.float16))
    with pytest.raises(DataError, match="different kinds"):
        joined(collate([window]), collate([other]))


def test_cutting_and_joining_are_inverse() -> None:
    (batch,) = first(stream(Numbers(9), 6), 1)
    parts = joined(batch[:2], batch[2:])
    assert parts is not None and parts.keys == batch.keys and parts.captions == batch.captions
    assert torch.equal(parts.frames, batch.frames) and torch.equal(parts.choice, batch.choice)


def test_workers_outlive_signals_to_their_group_and_end_with_the_run() -> None:
    """A signal to the whole process group reaches loader workers too; the stream must go on."""
    before = set(multiprocessing.active_children())
    iterator = iter(stream(Numbers(50), 2, workers=2))
    begun = [next(iterator) for _ in range(2)]  # one of each worker: both have started
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    for worker in workers:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGTERM)
        os.kill(worker.pid, signal.SIGUSR1)
    read = [next(iterator) for _ in range(12)]
    assert keys(begun + read) == keys(first(stream(Numbers(50), 2), 14))
    assert all(worker.is_alive() for worker in workers)
    iterator.close()  # type: ignore[attr-defined]
    for worker in workers:
        worker.join(GUARD)
        assert worker.exitcode == 0  # the loader's last resort would be SIGTERM


def test_a_process_that_leaves_a_stream_open_ends() -> None:
    """The loader's workers do not outlive it, nor does it wait for them or complain."""
    code = (
        f"import sys; sys.path[:0] = {list(map(str, Path(__file__).parents[:2]))!r}\n"
        "from test_stream import Numbers, stream\n"
        "iterator = iter(stream(Numbers(50), 2, workers=2)); next(iterator); next(iterator)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], timeout=GUARD, capture_output=True)
    assert (ended.returncode, ended.stderr.decode()) == (0, "")


def test_a_worker_does_not_collect_the_garbage_of_its_parent(tmp_path: Path) -> None:
    """It would wait for threads that were not forked, as those of FFmpeg's scaler."""
    here, collected = os.getpid(), tmp_path / "collected"

    class Garbage:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            if os.getpid() != here:
                collected.touch()

    class Collecting(Numbers):
        def read(self, place: Place) -> tuple[Sample | None, Outcome]:
            gc.collect()
            return super().read(place)

    gc.disable()
    try:
        Garbage()
        assert len(first(stream(Collecting(6), 3, workers=1), 2)) == 2
    finally:
        gc.enable()
    assert gc.get_freeze_count() == 0 and not collected.exists()
