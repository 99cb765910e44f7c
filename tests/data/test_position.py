"""The plan: each sample once a pass, over any ranks, workers and resume points."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lightning_artv.data.position import Position, order


def take(position: Position, rank: int, count: int) -> list[int]:
    first = position.taken[rank]
    return [position.at(rank, first + i) for i in range(count)]


def advanced(position: Position, counts: list[int]) -> Position:
    taken = tuple(t + c for t, c in zip(position.taken, counts, strict=True))
    return Position(taken, position.start, position.pending)


@given(
    legs=st.lists(
        st.integers(1, 5).flatmap(
            lambda ranks: st.lists(st.integers(0, 9), min_size=ranks, max_size=ranks)
        ),
        min_size=1,
        max_size=6,
    )
)
def test_every_position_is_taken_once_over_any_divisions(legs: list[list[int]]) -> None:
    """Each leg is a run on some ranks, each of which takes its own number of positions."""
    position, seen = Position(), []
    for counts in legs:
        position = position.divided(len(counts))
        for rank, count in enumerate(counts):
            seen += take(position, rank, count)
        position = advanced(position, counts)
    rest = position.divided(1) if position.world_size != 1 else position
    furthest = max(seen, default=0)
    while len(seen) < furthest + 20:  # one rank reads on, past all that was left open
        seen += take(rest, 0, 1)
        rest = advanced(rest, [1])
    assert sorted(seen) == list(range(furthest + 20))


@given(ranks=st.integers(1, 6), counts=st.integers(0, 30))
def test_ranks_in_step_leave_nothing_pending(ranks: int, counts: int) -> None:
    position = advanced(Position((0,) * ranks), [counts] * ranks)
    assert position.divided(ranks) is position
    assert position.divided(ranks + 1) == Position((0,) * (ranks + 1), counts * ranks)


def test_global_batches_do_not_depend_on_the_ranks() -> None:
    one = take(Position((0,)), 0, 12)
    two = [take(Position((0, 0)), rank, 6) for rank in range(2)]
    for step in range(3):
        assert set(one[4 * step : 4 * step + 4]) == {
            p for rank in two for p in rank[2 * step : 2 * step + 2]
        }


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=8),
    seed=st.integers(0, 99),
    shuffle=st.integers(0, 20),
)
def test_an_order_is_a_permutation_that_moves_samples_little(
    counts: list[int], seed: int, shuffle: int
) -> None:
    array = np.array(counts, dtype=np.int64)
    numbers = order(array, seed, 3, shuffle)
    assert sorted(numbers.tolist()) == list(range(sum(counts)))
    if not shuffle:
        assert numbers.tolist() == list(range(sum(counts)))
        return
    shards = list(range(len(counts)))  # as documented: shards shuffled, samples moved a little
    random.Random(f"{seed}:3").shuffle(shards)
    starts = np.cumsum(array) - array
    row = [int(starts[s]) + i for s in shards for i in range(counts[s])]
    moved = [abs(place - row.index(number)) for place, number in enumerate(numbers.tolist())]
    assert max(moved, default=0) < shuffle


def test_orders_differ_by_seed_and_pass_and_mix_evenly() -> None:
    counts = np.full(20, 50, dtype=np.int64)
    orders = {tuple(order(counts, seed, epoch, 100)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert tuple(order(counts, 0, 0, 100)) in orders
    first = Counter(int(order(counts, seed, 0, 1000)[0]) // 50 for seed in range(400))
    assert len(first) == 20 and max(first.values()) < 60  # any shard may come first
