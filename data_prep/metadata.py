"""The caption list of a folder of videos: `metadata.csv` (`file_name,text`) or `metadata.jsonl`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lightning_artv.errors import UserError

NAMES = ("metadata.csv", "metadata.jsonl")


@dataclass(frozen=True)
class Entry:
    """One listed video.

    Attributes:
        file_name: relative to the folder.
        text: the caption, stripped.
        line: where the list names it, counted from 1.
    """

    file_name: str
    text: str
    line: int


def read_metadata(folder: Path, allow_empty_captions: bool = False) -> list[Entry]:
    """The videos that a folder's metadata lists, in order.

    Raises:
        UserError: a missing or empty folder, no or unreadable metadata, a name that is listed twice
            or leads out of the folder, or an empty caption.
    """
    path = find_metadata(folder)
    entries: list[Entry] = []
    seen: dict[str, int] = {}
    for line, row in _rows(path):
        entry = _entry(path.name, line, row)
        if entry.file_name in seen:
            raise UserError(
                f"{path.name} lists {entry.file_name} in line {seen[entry.file_name]} and again in "
                f"line {line}; remove one."
            )
        if not entry.text and not allow_empty_captions:
            raise UserError(
                f"{path.name}, line {line}: {entry.file_name} has an empty caption; write one, or "
                "add --allow-empty-captions."
            )
        seen[entry.file_name] = line
        entries.append(entry)
    if not entries:
        raise UserError(f"{path} lists no videos; add rows with file_name and text.")
    return entries


def find_metadata(folder: Path) -> Path:
    """The folder's list of captions.

    Raises:
        UserError: no such folder, no list, or two.
    """
    if not folder.is_dir():
        raise UserError(f"The folder {folder} does not exist.")
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if not found:
        state = "has no metadata.csv" if any(folder.iterdir()) else "is empty"
        raise UserError(
            f"The folder {folder} {state}; put videos there and a metadata.csv (file_name,text) or "
            "metadata.jsonl beside them."
        )
    if len(found) > 1:
        raise UserError(f"The folder {folder} has both {' and '.join(NAMES)}; remove one.")
    return found[0]


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and fields of each row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".csv":
                reader = csv.DictReader(file)
                for row in reader:
                    yield reader.line_num, row
            else:
                for line, text in enumerate(file, start=1):
                    if text.strip():
                        yield line, json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path} has a line that is no JSON ({error}).") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text ({error}).") from error


def _entry(source: str, line: int, row: dict[str, Any]) -> Entry:
    name = row.get("file_name") if isinstance(row, dict) else None
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(name, str) or not isinstance(text, str) or not name.strip():
        raise UserError(f"{source}, line {line}: a row needs the fields file_name and text.")
    pure = PurePosixPath(name.strip())
    if pure.is_absolute() or ".." in pure.parts:
        raise UserError(f"{source}, line {line}: {name} leads out of the folder; move the file in.")
    return Entry(str(pure), " ".join(text.split()), line)
