"""Counts of what happened to the samples of a dataset, shared by all loader workers of a
process.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass

import torch

from lightning_artv.errors import DataError

_ROWS = 256
_TEXT_BYTES = 4096
_SEEN, _USED, _CORRUPT, _SHORT, _EMPTY_CAPTION, _EPOCHS = range(6)
_LOUD = 5
_MARK = "CorruptDataError: "


class CorruptDataError(DataError):
    """Too much of the data is unusable.

    A DataLoader re-raises a worker's exception with the worker's traceback in front of the message;
    the sentence alone is kept, because it is what the user needs.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(_MARK)[2].strip())


@dataclass(frozen=True)
class Problem:
    """A sample, or a whole shard (empty key), that could not be used as it is."""

    key: str
    shard: str
    reason: str

    def __str__(self) -> str:
        return f"{self.shard}:{self.key or '(shard)'} ({self.reason})"


@dataclass(frozen=True)
class Counts:
    """How many samples were met, and what became of them.

    Attributes:
        seen: met so far; `used + corrupt + short`.
        used: turned into a training example.
        corrupt: skipped because unreadable; a damaged shard counts once more.
        short: skipped because fewer than 2 frames exist at the configured frame rate.
        empty_captions: used, with an empty caption.
    """

    seen: int
    used: int
    corrupt: int
    short: int
    empty_captions: int


class Stats:
    """Shared-memory counters: one row a loader worker, so that no two processes write the same
    cell.

    Each problem is also a warning, in full for the first few of each kind, once per sample and
    process.
    """

    def __init__(self) -> None:
        self._counts = torch.zeros(_ROWS, 6, dtype=torch.int64).share_memory_()
        self._texts = torch.zeros(_ROWS, _TEXT_BYTES, dtype=torch.uint8).share_memory_()
        self._known: set[Problem] = set()
        self._warned: dict[str, int] = {}

    @property
    def counts(self) -> Counts:
        """Totals over all workers so far."""
        total = self._counts.sum(0).tolist()
        return Counts(*total[:_EPOCHS])

    @property
    def examples(self) -> list[Problem]:
        """The first problems that each worker met."""
        rows = (bytes(row[row != 0].tolist()) for row in self._texts if row[0])
        return [Problem(*fields) for row in rows for fields in json.loads(row)]

    def used(self, worker: int) -> None:
        """A sample was turned into an example."""
        self._counts[worker % _ROWS, _SEEN] += 1
        self._counts[worker % _ROWS, _USED] += 1

    def corrupt(self, worker: int, problem: Problem) -> None:
        """A sample, or a shard, was unreadable."""
        self._skip(worker, _CORRUPT)
        self._report(worker, problem, "Skipped a corrupt sample")

    def short(self, worker: int, problem: Problem) -> None:
        """A video has fewer than 2 frames."""
        self._skip(worker, _SHORT)
        self._report(worker, problem, "Skipped a video that is too short")

    def empty_caption(self, worker: int, problem: Problem) -> None:
        """A video that is used has no caption."""
        self._counts[worker % _ROWS, _EMPTY_CAPTION] += 1
        self._report(worker, problem, "A video without a caption is used as one without text")

    def end_epoch(self, worker: int, workers: int) -> bool:
        """Note that a worker is through with an epoch; True for the last of `workers` to be so."""
        self._counts[worker % _ROWS, _EPOCHS] += 1
        epochs = self._counts[torch.arange(workers) % _ROWS, _EPOCHS]
        return bool((epochs >= self._counts[worker % _ROWS, _EPOCHS]).all())

    def check(self, allowed: float, least: int) -> None:
        """Raise when more than the share `allowed` of the samples is corrupt.

        Args:
            allowed: in [0, 1].
            least: samples that must have been seen before a share says anything.

        Raises:
            CorruptDataError: with the counts and the first names.
        """
        counts = self.counts
        if counts.seen < max(least, 1) or counts.corrupt <= allowed * counts.seen:
            return
        raise CorruptDataError(
            f"{counts.corrupt} of {counts.seen} samples are corrupt, more than the allowed share "
            f"of {allowed:g} (data.max_corrupt_share): {self._names()}"
        )

    def require_used(self) -> None:
        """Raise when nothing at all could be used.

        Raises:
            CorruptDataError: with the counts.
        """
        counts = self.counts
        if not counts.used:
            raise CorruptDataError(
                f"None of the {counts.seen} samples can be used ({counts.corrupt} corrupt, "
                f"{counts.short} with fewer than 2 frames): {self._names()}"
            )

    def _names(self) -> str:
        return "; ".join(str(problem) for problem in self.examples[:3]) or "the shards are empty"

    def _skip(self, worker: int, column: int) -> None:
        self._counts[worker % _ROWS, _SEEN] += 1
        self._counts[worker % _ROWS, column] += 1

    def _report(self, worker: int, problem: Problem, headline: str) -> None:
        if problem in self._known:
            return
        self._known.add(problem)
        self._remember(worker % _ROWS, problem)
        count = self._warned[headline] = self._warned.get(headline, 0) + 1
        if count <= _LOUD:
            more = " Further ones are counted only." if count == _LOUD else ""
            warnings.warn(f"{headline}: {problem}.{more}", stacklevel=4)

    def _remember(self, row: int, problem: Problem) -> None:
        """Append to the worker's row of text while there is room (JSON in UTF-8 never contains a
        zero byte).
        """
        old = bytes(self._texts[row][self._texts[row] != 0].tolist())
        fields = [[problem.key, problem.shard, problem.reason]]
        text = json.dumps((json.loads(old) if old else []) + fields).encode()
        if len(text) <= _TEXT_BYTES:
            self._texts[row, : len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
