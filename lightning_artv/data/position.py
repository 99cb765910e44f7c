"""Where a stream over the training data stands; pure, no I/O.

The data is one endless sequence of positions 0, 1, 2, ...: position p is sample p % N of pass
p // N, in that pass's order (N samples, unusable ones included). Its order depends neither on the
ranks nor on the loader workers, so a run can stop at any batch and go on with others. The ranks
deal the sequence out among themselves, one position each in turn; a rank takes its own in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Position:
    """What of the sequence was taken, by how many ranks.

    Ranks drift apart where some skip more unusable samples than others; hence `pending`.

    Attributes:
        taken: rank -> how many of its own it has taken since the division among these ranks began.
        start: positions below were taken before that, ...
        pending: ... except these, which are dealt out first; ascending.
    """

    taken: tuple[int, ...] = (0,)
    start: int = 0
    pending: tuple[int, ...] = ()

    @property
    def world_size(self) -> int:
        """The number of ranks."""
        return len(self.taken)

    def at(self, rank: int, count: int) -> int:
        """The position that `rank` takes as its number `count` (0, 1, ...) of this division."""
        return self._dealt(count * self.world_size + rank)

    def divided(self, world_size: int) -> Position:
        """What is left, divided among `world_size` ranks; itself where their number is the same."""
        if world_size == self.world_size:
            return self
        end = max(max(self.taken) * self.world_size, len(self.pending))
        left = (
            turn
            for turn in range(end)
            if self.taken[turn % self.world_size] * self.world_size <= turn
        )
        pending = tuple(sorted(self._dealt(turn) for turn in left))
        return Position((0,) * world_size, self._dealt(end), pending)

    def _dealt(self, turn: int) -> int:
        if turn < len(self.pending):
            return self.pending[turn]
        return self.start + turn - len(self.pending)


def order(counts: NDArray[np.int64], seed: int, epoch: int, shuffle: int) -> NDArray[np.int64]:
    """In which order a pass meets the samples.

    Shards come in random order; within the row of their samples each moves by fewer than `shuffle`
    places, so that reading stays nearly sequential.

    Args:
        counts: samples of each shard `[S]`; sample numbers run through them in this order.
        seed, epoch: all that the order depends on besides.
        shuffle: 0 for the order of the shards.

    Returns:
        A permutation of range(N), `[N]`.
    """
    total = int(counts.sum())
    if not shuffle:
        return np.arange(total)
    random = Random(f"{seed}:{epoch}")
    shards = list(range(len(counts)))
    random.shuffle(shards)
    starts = np.cumsum(counts) - counts
    row = np.concatenate([np.arange(starts[s], starts[s] + counts[s]) for s in shards])
    jitter = np.random.Generator(np.random.PCG64(random.getrandbits(64))).random(total)
    return row[np.argsort(np.arange(total) + shuffle * jitter, kind="stable")]
