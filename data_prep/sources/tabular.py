"""CSV and JSON lines, row by row, whatever is in them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.rows import Problem
from data_prep.sources.checks import has_surrogates
from lightning_artv.errors import UserError

Row = Mapping[str, str]


def csv_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, Row] | Problem]:
    """(line, fields by column) of each row; line is where the row ends, counted from 1.

    Quoted fields may hold commas, quotes and newlines. Bytes that are no UTF-8 arrive as lone
    surrogates, which the caller finds in the row concerned. A row of another length than the header
    is a problem: an unquoted comma has shifted its fields.

    Raises:
        UserError: no such file, or a header without the needed columns.
    """
    with _open(path) as file:
        reader = csv.reader(file)
        header = _header(path, reader, needed)
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Problem(f"line {reader.line_num}", "", "bad_row", f"no CSV ({error})")
                continue
            if len(fields) == len(header):
                yield reader.line_num, dict(zip(header, fields, strict=True))
            elif fields:
                yield Problem(
                    f"line {reader.line_num}",
                    "",
                    "bad_row",
                    f"the row has {len(fields)} fields and the header {len(header)}: "
                    "is a comma not quoted?",
                )


def json_rows(path: Path) -> Iterator[tuple[int, Row] | Problem]:
    """(line, fields) of each line of a JSON lines file; fields that are no text are left out.

    Raises:
        UserError: no such file.
    """
    with _open(path) as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except (json.JSONDecodeError, RecursionError) as error:
                yield Problem(f"line {line}", "", "bad_row", f"no JSON ({error})")
                continue
            if isinstance(row, dict):
                yield line, {k: v for k, v in row.items() if isinstance(v, str)}
            else:
                yield Problem(f"line {line}", "", "bad_row", "the line is no JSON object")


def number(text: str | None) -> float | None:
    """A finite number that a list gives as text, or None."""
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and abs(value) < float("inf") else None


def _open(path: Path) -> Any:
    try:
        return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise UserError(f"The list {path} cannot be read ({error.strerror}).") from error


def _header(path: Path, reader: Any, needed: Sequence[str]) -> list[str]:
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise UserError(f"{path} is no CSV ({error}).") from error
    if any(has_surrogates(name) or "\0" in name for name in header):
        raise UserError(f"{path} is not UTF-8: convert it (iconv -f ... -t utf-8).")
    missing = [name for name in needed if name not in header]
    if missing:
        raise UserError(
            f"{path} lacks the {'columns' if len(missing) > 1 else 'column'} {', '.join(missing)}; "
            f"its first line is to name {', '.join(needed)}."
        )
    return header
