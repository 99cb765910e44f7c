"""Several sets of shards in one stream, each as often as its weight says; pure but for its errors.

A pass holds round(weight x samples) places of each set. They are those that come next in a stream
of the set's own, so that whatever the weight each of its samples comes as often as any other; the
sets' places are merged evenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from lightning_artv.data.position import order
from lightning_artv.errors import UserError, check_number


@dataclass(frozen=True)
class WeightedSet:
    """Shards, and how often a pass over the data holds each of their samples.

    Attributes:
        path: folder, brace pattern, tar, or list of these.
        weight: 1 is once per pass, 0.5 every second pass, 2 twice per pass, 0 never.
    """

    path: str | list[str]
    weight: float = 1.0


Shards = str | Path | Sequence[str | Path | WeightedSet]


def sets_of(shards: Shards) -> list[WeightedSet] | None:
    """The weighted sets that an option names, those of weight 0 left out; None where it names
    shards alone.

    Raises:
        UserError: a weight that is none, or all of them 0.
    """
    listed: Sequence[str | Path | WeightedSet] = [] if isinstance(shards, str | Path) else shards
    if not any(isinstance(item, WeightedSet) for item in listed):
        return None
    sets = [item if isinstance(item, WeightedSet) else WeightedSet(str(item)) for item in listed]
    for item in sets:
        check_number(f"The weight of {item.path} in data.train", item.weight, 0)
    used = [item for item in sets if item.weight > 0]
    if not used:
        raise UserError("All weights in data.train are 0: give one set a positive weight.")
    return used


@dataclass(frozen=True)
class Part:
    """A set among the numbered samples of all of them.

    Attributes:
        first: number of its first sample.
        counts: samples of each of its shards, int64 `[S]`.
        weight: see `WeightedSet`.
    """

    first: int
    counts: NDArray[np.int64]
    weight: float

    @property
    def places(self) -> int:
        """Of a pass."""
        return round(self.weight * int(self.counts.sum()))

    def taken(self, seed: int, epoch: int, shuffle: int) -> tuple[NDArray[np.int64], ...]:
        """What pass `epoch` takes of the set's own stream: sample numbers, and which of its own
        passes each belongs to, `[places]`.
        """
        total = int(self.counts.sum())
        start, end = epoch * self.places, (epoch + 1) * self.places
        own = range(start // total, -(-end // total))
        numbers = [order(self.counts, seed, turn, shuffle) for turn in own]
        turns = np.repeat(np.array(own, np.int64), total)
        here = slice(start - own.start * total, end - own.start * total)
        joined = np.concatenate(numbers) if numbers else turns
        return joined[here] + self.first, turns[here]


@dataclass(frozen=True)
class Mix:
    """Sets whose samples are numbered one after the other.

    Raises:
        UserError: there is not one place in a pass.
    """

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if not len(self):
            raise UserError(
                "The weights in data.train are so small that a pass holds no sample: give larger "
                "ones."
            )

    def __len__(self) -> int:
        return sum(part.places for part in self.parts)

    def pass_of(self, seed: int, epoch: int, shuffle: int) -> tuple[NDArray[np.int64], ...]:
        """Sample numbers of pass `epoch` in order, and which pass over its set each belongs to.

        Returns:
            two arrays `[len(self)]`.
        """
        random = np.random.Generator(np.random.PCG64(Random(f"{seed}:{epoch}:mix").getrandbits(64)))
        taken = [part.taken(seed, epoch, shuffle) for part in self.parts]
        times = [(np.arange(len(n)) + random.random(len(n))) / max(len(n), 1) for n, _ in taken]
        merged = np.argsort(np.concatenate(times), kind="stable")
        numbers, turns = (np.concatenate(arrays) for arrays in zip(*taken, strict=True))
        return numbers[merged], turns[merged]
