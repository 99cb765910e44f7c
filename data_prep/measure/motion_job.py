"""The step `motion` as a job."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from data_prep.engine import Work
from data_prep.measure.analyse import AnalyseOptions, Analysis, analyse
from data_prep.sources.listing import entry_of
from data_prep.tables import columns_of


@dataclass(frozen=True)
class Analyse:
    """Everything that one decode tells (`data_prep.measure.analyse`), a video a call."""

    options: AnalyseOptions
    batch: int = 1
    schema: pa.Schema = field(default_factory=lambda: pa.schema(columns_of(Analysis)))

    def open(self) -> Work:
        """Nothing to load."""
        return lambda rows: [analyse(entry_of(row), self.options) for row in rows]
