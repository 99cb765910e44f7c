"""The rows of a list, with those that cannot be used as problems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.sources.rows import Problem
from lightning_artv.tables import BadRow, Row, rows


def list_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, Row] | Problem]:
    """(line, text by column) of each row of a table, see `lightning_artv.tables.rows`."""
    for found in rows(path, columns, optional):
        if isinstance(found, BadRow):
            yield Problem(f"line {found.line}", "", "bad_row", found.reason)
        else:
            yield found


def number(text: str | None) -> float | None:
    """A finite number that a list gives as text, or None."""
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and abs(value) < float("inf") else None
