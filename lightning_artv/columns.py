"""The columns of a table, and a row of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_artv.errors import UserError
from lightning_artv.files import is_blank

Row = Mapping[str, str]
"""Text by column."""


class MissingColumns(UserError):  # noqa: N818 - what the data is, not what the code did
    """A table without the columns that are needed."""


@dataclass(frozen=True)
class BadRow:
    """A row of a table that cannot be used.

    Attributes:
        line: where it begins, counted from 1; of a Parquet table, the row.
        reason: why, in words that follow a colon.
    """

    line: int
    reason: str


def places_of(
    path: Path, header: Sequence[str], columns: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, int]:
    """Column -> its place in the header."""
    places: dict[str, int] = {}
    for wanted in (*columns, *optional):
        found = [place for place, name in enumerate(header) if name == wanted]
        if not found:
            spelling = spelling_of(wanted)
            found = [place for place, name in enumerate(header) if spelling_of(name) == spelling]
        if len(found) > 1:
            raise UserError(f"{path} has the column {wanted} twice: rename or remove one.")
        if found:
            places[wanted] = found[0]
    missing = [name for name in columns if name not in places]
    if missing:
        shown = ",".join(header)
        shown = repr(shown if len(shown) <= 100 else shown[:97] + "...") if shown else "empty"
        raise MissingColumns(
            f"{path} lacks the {'columns' if len(missing) > 1 else 'column'} {', '.join(missing)}; "
            f"its first line is to name {', '.join(columns)}, and is {shown}."
        )
    return places


def spelling_of(name: str) -> str:
    """`File Name`, `file-name` and `file_name` alike, whatever is in them that cannot be seen."""
    return "".join(char for char in name if char not in "_-" and not is_blank(char)).casefold()
