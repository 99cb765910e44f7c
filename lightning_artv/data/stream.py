"""Batches in an order that no number of loader workers changes, from any position on.

Workers read chunks of the stream and drop what cannot be used; this process cuts what they deliver,
in the order of the stream, into full batches. A batch says up to where it used the stream up, so
batches that were read ahead but never trained on are read again after a resume, and none is lost.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from ctypes import c_bool
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import count, islice
from multiprocessing import RawValue
from multiprocessing.util import Finalize
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from lightning_artv.batch import VideoBatch
from lightning_artv.data.position import Position
from lightning_artv.data.shards import Place, ShardDataset, collate, require_one_kind
from lightning_artv.data.stats import Outcome
from lightning_artv.errors import UserError


@dataclass(frozen=True)
class Chunk:
    """What a worker made of some consecutive samples of the stream.

    Attributes:
        batch: the usable ones; None where there are none.
        outcomes: what became of each of them, in order.
        error: what the user has to mend; the rest is empty then.
    """

    batch: VideoBatch | None
    outcomes: tuple[Outcome, ...] = ()
    error: UserError | None = None


class BatchStream:
    """Batches of one rank; every iteration begins where `begin` says.

    Args:
        dataset: what is read.
        batch_size: samples (windows) in a batch.
        num_workers: loader processes, which live as long as an iteration; 0 reads in this one.
        rank: which of the ranks among which the position divides the stream.
        begin: called at the start of each iteration.
        endless: pass after pass in full batches; else the first pass, its last batch maybe smaller.

    Raises:
        DataError: while iterating, too many corrupt samples or none that can be used.
    """

    def __init__(
        self,
        dataset: ShardDataset,
        batch_size: int,
        num_workers: int,
        rank: int,
        begin: Callable[[], Position],
        endless: bool,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.begin = begin
        self._chunks = _Chunks(dataset, batch_size, rank, endless)
        leaving = RawValue(c_bool, False)
        # Runs before Python terminates the workers of a process that ends.
        Finalize(None, setattr, (leaving, "value", True), exitpriority=0)
        self._loader: DataLoader[Chunk] = DataLoader(
            _ChunkReader(dataset),
            batch_sampler=self._chunks,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            worker_init_fn=partial(outlive_signals, leaving),
            generator=torch.Generator(),  # else it would draw from the global one
        )

    def __iter__(self) -> Iterator[VideoBatch]:
        taken = self._chunks.start(self.begin())
        rows: VideoBatch | None = None
        ends: list[int] = []  # for each row, up to where it uses the stream up
        for chunk in self._started():
            if chunk.error is not None:
                raise chunk.error
            for outcome in chunk.outcomes:
                self.dataset.stats.add(outcome)
                taken += 1
                if outcome.fate.is_used:
                    ends.append(taken)
            rows = joined(rows, chunk.batch)
            while rows is not None and len(ends) >= self.batch_size:
                full = rows[: self.batch_size]
                yield replace(full, position=ends[self.batch_size - 1])
                ends = ends[self.batch_size :]
                rows = rows[self.batch_size :] if ends else None
        if rows is not None:
            yield replace(rows, position=ends[-1])

    def _started(self) -> Iterator[Chunk]:
        """The loader, with its workers forked; what is garbage in this process stays so in them.

        A worker that collected it would wait for ever for threads that a fork does not copy, such
        as those of FFmpeg's scaler.
        """
        gc.freeze()
        try:
            return iter(self._loader)
        finally:
            gc.unfreeze()


class _Chunks:
    """What the loader asks its workers for, in order: the samples of one rank from a position on.

    It does not know the stream: a loader in a reference cycle cannot end its workers.
    """

    def __init__(self, dataset: ShardDataset, size: int, rank: int, endless: bool) -> None:
        self._dataset, self._size, self._rank, self._endless = dataset, size, rank, endless
        self._position = Position()

    def start(self, position: Position) -> int:
        """The next iteration begins there; how many its rank has taken."""
        self._position = position
        return position.taken[self._rank]

    def __iter__(self) -> Iterator[list[Place]]:
        places = self._places()
        while chunk := list(islice(places, self._size)):
            yield chunk

    def _places(self) -> Iterator[Place]:
        order = lru_cache(maxsize=3)(self._dataset.order)
        turns = lru_cache(maxsize=3)(self._dataset.turns)
        for taken in count(self._position.taken[self._rank]):
            epoch, index = divmod(self._position.at(self._rank, taken), len(self._dataset))
            if epoch > 0 and not self._endless:
                return
            own = turns(epoch)  # a sample that a pass holds twice shows other frames
            yield Place(int(order(epoch)[index]), epoch if own is None else int(own[index]))


class _ChunkReader(Dataset[Chunk]):
    """The dataset as workers use it: many samples at a time."""

    def __init__(self, dataset: ShardDataset) -> None:
        self._dataset = dataset

    def __getitems__(self, places: list[Place]) -> Chunk:
        try:
            read = [self._dataset.read(place) for place in places]
            samples = [sample for sample, _ in read if sample is not None]
            batch = collate(samples) if samples else None
        except UserError as error:  # a loader would bury the sentence in a worker's traceback
            return Chunk(None, error=error)
        return Chunk(batch, tuple(outcome for _, outcome in read))


def joined(one: VideoBatch | None, two: VideoBatch | None) -> VideoBatch | None:
    """The rows of both, in order.

    Raises:
        DataError: rows of different kinds.
    """
    if one is None or two is None:
        return one or two
    require_one_kind([one.frames[0], two.frames[0]])
    return VideoBatch.cat([one, two])


def outlive_signals(leaving: c_bool, worker: int) -> None:
    """Let a loader worker live on when its whole process group is told to stop.

    The run finishes its step and saves first, and needs its workers for that.

    Args:
        leaving: flag in shared memory, true once the run itself ends its workers.
        worker: its number.
    """

    def unless_leaving(number: int, frame: FrameType | None) -> None:
        if leaving.value:
            os._exit(0)

    for name in ("SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), unless_leaving)


def _as_it_is(chunk: Any) -> Any:
    return chunk
