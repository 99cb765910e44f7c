"""Weighted sets: how often each sample comes, evenly merged, resumed exactly."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_datamodule import fit
from videos import encode, numbered, write_shards

from lightning_artv import cli
from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.data.mix import Mix, Part, WeightedSet, sets_of
from lightning_artv.data.position import Position, order
from lightning_artv.data.shards import ClipSettings, ShardDataset
from lightning_artv.data.stream import BatchStream
from lightning_artv.data.tar import ShardWriter
from lightning_artv.errors import DataError, UserError
from lightning_artv.systems.artv.windows import NextFrame

COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=4)
WEIGHTS = st.floats(0.01, 3.5) | st.sampled_from([1.0, 2.0, 0.5])


@settings(deadline=None)
@given(
    st.lists(st.tuples(COUNTS, WEIGHTS), min_size=1, max_size=4),
    st.integers(0, 5),
    st.integers(0, 20),
)
def test_every_sample_of_a_set_comes_as_often_as_its_weight_says(
    sets: list[tuple[list[int], float]], seed: int, shuffle: int
) -> None:
    parts, first = [], 0
    for counts, weight in sets:
        parts.append(Part(first, np.array(counts, np.int64), weight))
        first += sum(counts)
    if not sum(part.places for part in parts):
        with pytest.raises(UserError, match="so small that a pass holds no sample"):
            Mix(tuple(parts))
        return
    mix, passes, seen = Mix(tuple(parts)), 6, Counter[tuple[int, int]]()
    for epoch in range(passes):
        numbers, turns = mix.pass_of(seed, epoch, shuffle)
        assert len(numbers) == len(turns) == len(mix)
        for part in parts:
            last = part.first + int(part.counts.sum())
            here = int(((part.first <= numbers) & (numbers < last)).sum())
            assert here == part.places == round(part.weight * (last - part.first))
        seen.update(zip(numbers.tolist(), turns.tolist(), strict=True))
    assert set(seen.values()) <= {1}  # never twice in one pass over its set: other frames
    often = Counter(number for number, _ in seen)
    for part in parts:
        total = int(part.counts.sum())
        times = [often[number] for number in range(part.first, part.first + total)]
        assert sum(times) == passes * part.places
        assert max(times) - min(times) <= 1


def test_one_set_of_weight_one_has_the_order_of_plain_shards() -> None:
    counts = np.array([4, 7, 2], np.int64)
    for epoch in range(3):
        numbers, turns = Mix((Part(0, counts, 1.0),)).pass_of(3, epoch, 5)
        assert numbers.tolist() == order(counts, 3, epoch, 5).tolist()
        assert set(turns.tolist()) == {epoch}


def test_sets_are_merged_evenly() -> None:
    large, small = np.full(10, 100, np.int64), np.full(1, 100, np.int64)
    numbers, _ = Mix((Part(0, large, 0.9), Part(1000, small, 1.0))).pass_of(0, 0, 50)
    shares = [(numbers[start : start + 100] >= 1000).mean() for start in range(0, 1000, 100)]
    assert all(0.06 < share < 0.14 for share in shares)


def two_sets(folder: Path) -> tuple[Path, Path]:
    """Ten and six videos, whose keys tell them apart."""
    write_shards(folder / "a", videos=10, per_shard=4)
    (folder / "b").mkdir()
    with ShardWriter(folder / "b", 4) as writer:
        for k in range(6):
            writer.write(f"other-{k}", encode(numbered(30)), "other", {})
    return folder / "a", folder / "b"


def data(sets: list[tuple[Path, float]], **options: int) -> VideoDataModule:
    wanted: dict[str, int] = {"size": 32, "batch_size": 3, "num_workers": 0, "shuffle": 5}
    listed: list[str | WeightedSet] = [WeightedSet(str(path), weight) for path, weight in sets]
    return VideoDataModule(listed, windows=NextFrame(), **(wanted | options))  # type: ignore


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_goes_on_within_a_weighted_pass(tmp_path: Path, workers: int) -> None:
    (a, b), half = two_sets(tmp_path), tmp_path / "half.ckpt"
    sets = [(a, 0.5), (b, 2.0)]  # 5 + 12 places
    whole = fit(data(sets), max_steps=12).trained
    keys = [key for batch in whole for key in batch]
    for start in (0, 17):
        seen = Counter(keys[start : start + 17])
        assert {seen[f"other-{k}"] for k in range(6)} == {2}
        assert sum(n for key, n in seen.items() if not key.startswith("other")) == 5
    assert len({key for key in keys[:34] if not key.startswith("other")}) == 10
    start = fit(data(sets, num_workers=workers), save=half, max_steps=4).trained
    rest = fit(data(sets, num_workers=workers), resume=half, max_steps=12).trained
    assert start + rest == whole


def test_another_weight_begins_a_new_pass_and_says_so(tmp_path: Path) -> None:
    (a, b), half = two_sets(tmp_path), tmp_path / "half.ckpt"
    fit(data([(a, 1.0), (b, 1.0)]), save=half, max_steps=2)
    with pytest.warns(UserWarning, match="a new pass over the data begins"):
        fit(data([(a, 1.0), (b, 2.0)]), resume=half, max_steps=3)


def test_a_sample_that_a_pass_holds_twice_shows_other_frames(tmp_path: Path) -> None:
    _, b = two_sets(tmp_path)
    clips = ClipSettings(NextFrame(), (32, 32))
    dataset = ShardDataset([WeightedSet(str(b), 8.0)], clips, shuffle=4)
    shown = {(s.key, float(s.frames[-1].float().mean())) for s in dataset}
    assert len(dataset) == 48 and len(shown) > 12
    batches = BatchStream(dataset, 48, 0, 0, Position, endless=False)
    (batch,) = batches
    streamed = zip(batch.keys, batch.frames[:, -1].float().mean((1, 2, 3)).tolist(), strict=True)
    assert set(streamed) == shown


def test_two_ranks_share_a_weighted_pass(tmp_path: Path) -> None:
    a, b = two_sets(tmp_path)
    sets = [WeightedSet(str(a), 0.5), WeightedSet(str(b), 2.0)]
    dataset = ShardDataset(sets, ClipSettings(NextFrame(), (32, 32)), shuffle=5)
    found = Counter[str]()
    for rank in range(2):
        stream = BatchStream(dataset, 4, 0, rank, lambda: Position((0, 0)), endless=False)
        found.update(key for batch in stream for key in batch.keys)
    assert found == Counter(sample.key for sample in dataset) and found.total() == 17


def test_plain_paths_are_no_weighted_sets() -> None:
    assert sets_of("a") is None and sets_of(["a", "b"]) is None and sets_of(Path("a")) is None
    mixed = sets_of(["a", WeightedSet("b", 0.0), WeightedSet("c", 2)])
    assert mixed == [WeightedSet("a"), WeightedSet("c", 2)]


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_an_impossible_weight_is_one_sentence(weight: float) -> None:
    with pytest.raises(UserError, match=r"^The weight of b in data.train must be a finite number"):
        VideoDataModule([WeightedSet("a", 1.0), WeightedSet("b", weight)])


def test_sets_without_weight_or_samples_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^All weights in data.train are 0: give one set"):
        VideoDataModule([WeightedSet("a", 0.0), WeightedSet("b", 0.0)])
    a, b = two_sets(tmp_path)
    with pytest.raises(UserError, match="so small that a pass holds no sample"):
        data([(a, 0.01), (b, 0.01)]).batches_a_pass()
    with ShardWriter(tmp_path / "mute", 4) as writer:
        writer.write("m", encode(numbered(30)), "", {})
    with pytest.raises(DataError, match="Not one of the samples has a caption"):
        data([(a, 1.0), (tmp_path / "mute", 1.0)]).batches_a_pass()


ROOT = Path(__file__).parents[2]


def trained(folder: Path, sets: str) -> int:
    """The exit code of a step of the demo's training on sets given as YAML."""
    (folder / "run.yaml").write_text(
        f"extends: {ROOT / 'configs' / 'artv' / 'demo.yaml'}\n"
        f"trainer: {{default_root_dir: {folder / 'run'}, fast_dev_run: true, accelerator: cpu}}\n"
        f"data: {{train: {sets}, val: null, num_workers: 0, batch_size: 2}}\n"
    )
    return cli.main(["fit", "--config", str(folder / "run.yaml")])


def test_a_configuration_names_weighted_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = two_sets(tmp_path)
    assert trained(tmp_path, f"[{{path: {a}, weight: 0.5}}, {{path: {b}, weight: 2}}]") == 0
    capsys.readouterr()
    for weight in (".nan", "-1", "0"):
        assert trained(tmp_path, f"[{{path: {a}, weight: {weight}}}]") == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and "weight" in error
