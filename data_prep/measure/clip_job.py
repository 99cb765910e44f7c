"""The step `clip` as a job, apart from `jobs` because only its processes need a model."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from data_prep.engine import Work
from data_prep.measure.clip_score import ClipOptions, ClipScore, ClipScorer
from data_prep.sources.listing import entry_of
from data_prep.tables import columns_of


@dataclass(frozen=True)
class Clip:
    """CLIP scores, a batch of videos a call; the model stays in the process."""

    options: ClipOptions
    batch: int = 32
    schema: pa.Schema = field(default_factory=lambda: pa.schema(columns_of(ClipScore)))

    def open(self) -> Work:
        """Load the model.

        Raises:
            MissingWeightsError, CorruptWeightsError: it cannot be.
        """
        scorer = ClipScorer(self.options)
        return lambda rows: scorer([entry_of(row) for row in rows])
