"""Evaluation on several ranks that ends on all of them together, with each sample counted once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from lightning_artv.batch import VideoBatch
from lightning_artv.data.shards import Place, collate
from lightning_artv.data.stream import BatchStream
from lightning_artv.errors import DataError


class Together:
    """One rank's batches, as many as those of the rank that has the most.

    Ranks communicate in each step, so one without a batch would leave the others waiting: it takes
    its last one again, or the set's first sample, marked as `padding`.

    Args:
        stream: this rank's batches; a single pass.
        any_rank: whether a statement is true on any rank; every rank asks at the same time.

    Raises:
        DataError: while iterating, not one sample of any rank can be used.
    """

    def __init__(self, stream: BatchStream, any_rank: Callable[[bool], bool]) -> None:
        self.stream = stream
        self.any_rank = any_rank

    def __iter__(self) -> Iterator[VideoBatch]:
        last: VideoBatch | None = None
        batches = iter(self.stream)
        while True:
            batch = next(batches, None)
            if not self.any_rank(batch is not None):
                break
            last = batch or replace(last or self._first(), padding=True)
            yield last
        if last is None:
            total = len(self.stream.dataset)
            raise DataError(f"None of the {total} samples can be used; check the shards.")

    def _first(self) -> VideoBatch:
        """The first usable sample, which is another rank's and counted there."""
        dataset = self.stream.dataset
        read = (dataset.read(Place(number, 0))[0] for number in dataset.order(0).tolist())
        return collate([next(sample for sample in read if sample is not None)])
