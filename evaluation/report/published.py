"""Numbers that were printed in the paper, kept apart from what is measured here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

TABLE1 = Path(__file__).parents[1] / "published" / "table1.yaml"
SETS = ("ucf101", "msrvtt")


@dataclass(frozen=True)
class PublishedRow:
    """A row of Table 1; None where the paper prints no number.

    Attributes:
        method: as printed.
        data: training data, as printed.
        ucf101_zero_shot, msrvtt_zero_shot: whether the model was not trained on that set.
        ucf101_fvd, ucf101_is, msrvtt_fvd, msrvtt_clipsim: as printed.
    """

    method: str
    data: str
    ucf101_zero_shot: bool
    ucf101_fvd: float | None
    ucf101_is: float | None
    msrvtt_zero_shot: bool
    msrvtt_fvd: float | None
    msrvtt_clipsim: float | None


@dataclass(frozen=True)
class PublishedTable:
    """Table 1 with its source and what must be known to read it."""

    source: str
    notes: tuple[str, ...]
    rows: tuple[PublishedRow, ...]


def read_table1() -> PublishedTable:
    """Table 1 of the paper."""
    content = yaml.safe_load(TABLE1.read_text(encoding="utf-8"))
    rows = tuple(
        PublishedRow(
            row["method"],
            row["data"],
            **{f"{name}_{key}": value for name in SETS for key, value in row[name].items()},
        )
        for row in content["rows"]
    )
    return PublishedTable(content["source"], tuple(content["notes"]), rows)
