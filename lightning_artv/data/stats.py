"""Counts of what happened to the samples of a dataset, and the judgement on them."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from enum import Enum

from lightning_artv.data.members import printable
from lightning_artv.errors import DataError

_LEAST_SEEN = 20
_KEPT = 100
_LOUD = 5


class Fate(Enum):
    """What became of a sample; the value heads its warning."""

    USED = ""
    EMPTY_CAPTION = "A video without a caption is used as one without text"
    CORRUPT = "Skipped a corrupt sample"
    SHORT = "Skipped a video that is too short"

    @property
    def is_used(self) -> bool:
        """Whether it became a training example."""
        return self in (Fate.USED, Fate.EMPTY_CAPTION)


@dataclass(frozen=True)
class Problem:
    """A sample, or a whole shard (empty key), that could not be used as it is."""

    key: str
    shard: str
    reason: str

    def __str__(self) -> str:
        return f"{self.shard}:{printable(self.key) or '(shard)'} ({self.reason})"


@dataclass(frozen=True)
class Outcome:
    """What became of one sample.

    Attributes:
        fate: used or skipped.
        problem: None for a sample that was used without remark.
    """

    fate: Fate = Fate.USED
    problem: Problem | None = None


@dataclass(frozen=True)
class Counts:
    """How many samples were met, and what became of them.

    Attributes:
        seen: met so far; `used + corrupt + short`.
        used: turned into a training example.
        corrupt: skipped because unreadable; a damaged shard counts once more.
        short: skipped because fewer frames than a window needs exist at the configured rate.
        empty_captions: used, with an empty caption.
    """

    seen: int
    used: int
    corrupt: int
    short: int
    empty_captions: int


class Stats:
    """Counters of one process, in the order in which it takes the samples.

    Each problem is also a warning, in full for the first few of each kind, once per sample.

    Args:
        max_corrupt_share: more corrupt samples than this share of those seen are an error, once 20
            were seen or as many as there are.
        total: how many samples there are.
    """

    def __init__(self, max_corrupt_share: float, total: int) -> None:
        self.max_corrupt_share = max_corrupt_share
        self.total = total
        self._fates: Counter[Fate] = Counter()
        self._problems: dict[Problem, None] = {}
        self._warned: Counter[Fate] = Counter()

    @property
    def counts(self) -> Counts:
        """Totals so far."""
        empty = self._fates[Fate.EMPTY_CAPTION]
        return Counts(
            seen=self._fates.total(),
            used=self._fates[Fate.USED] + empty,
            corrupt=self._fates[Fate.CORRUPT],
            short=self._fates[Fate.SHORT],
            empty_captions=empty,
        )

    @property
    def examples(self) -> list[Problem]:
        """The first problems that were met."""
        return list(self._problems)

    def add(self, outcome: Outcome) -> None:
        """Count a sample.

        Raises:
            DataError: too many are corrupt, or none can be used; with counts and names.
        """
        self._fates[outcome.fate] += 1
        if outcome.problem is not None:
            self._report(outcome.fate, outcome.problem)
        counts = self.counts
        enough = counts.seen >= min(_LEAST_SEEN, self.total)
        if enough and counts.corrupt > self.max_corrupt_share * counts.seen:
            raise DataError(
                f"{counts.corrupt} of {counts.seen} samples are corrupt, more than the allowed "
                f"share of {self.max_corrupt_share:g} (data.max_corrupt_share): {self._names()}"
            )
        if counts.seen >= self.total and not counts.used:
            raise DataError(
                f"None of the {counts.seen} samples can be used ({counts.corrupt} corrupt, "
                f"{counts.short} too short): {self._names()}"
            )

    def _names(self) -> str:
        return "; ".join(str(problem) for problem in self.examples[:3])

    def _report(self, fate: Fate, problem: Problem) -> None:
        if problem in self._problems:
            return
        if len(self._problems) < _KEPT:
            self._problems[problem] = None
        self._warned[fate] += 1
        if self._warned[fate] <= _LOUD:
            more = " Further ones are counted only." if self._warned[fate] == _LOUD else ""
            warnings.warn(f"{fate.value}: {problem}.{more}", stacklevel=4)
