"""The caption list of a folder of videos: `metadata.csv` (`file_name,text`), or another table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.sources.rows import Problem, VideoEntry, is_unsafe, key_of
from data_prep.sources.tabular import list_rows
from lightning_artv.errors import UserError
from lightning_artv.files import one_line
from lightning_artv.names import normal_name, trimmed
from lightning_artv.tables import SUFFIXES, Row, read_table

COLUMNS = ("file_name", "text")
NAMES = tuple(f"metadata{suffix}" for suffix in SUFFIXES)


@dataclass(frozen=True)
class Entry:
    """One listed video.

    Attributes:
        file_name: relative to the folder, as it is listed.
        text: the caption, stripped.
        line: where the list names it, counted from 1.
    """

    file_name: str
    text: str
    line: int


def read_metadata(folder: Path, allow_empty_captions: bool = False) -> list[Entry]:
    """The videos that a folder's metadata lists, in order.

    Raises:
        UserError: a missing or empty folder, no metadata or a row of it that cannot be read, a
            name that is listed twice or leads out of the folder, or an empty caption.
    """
    path = find_metadata(folder)
    entries: list[Entry] = []
    seen: dict[str, int] = {}
    for line, row in read_table(path, COLUMNS):
        entry = _entry(path.name, line, row)
        before = seen.setdefault(normal_name(entry.file_name), line)
        if before != line:
            raise UserError(
                f"{path.name} lists {entry.file_name} in line {before} and again in line {line}; "
                "remove one."
            )
        if not entry.text and not allow_empty_captions:
            raise UserError(
                f"{path.name}, line {line}: {entry.file_name} has an empty caption; write one, or "
                "add --allow-empty-captions."
            )
        entries.append(entry)
    if not entries:
        raise UserError(f"{path} lists no videos; add rows with file_name and text.")
    return entries


def listed(path: Path) -> Iterator[VideoEntry | Problem]:
    """The rows of the folder's metadata; paths are relative to the folder."""
    for found in list_rows(find_metadata(path), COLUMNS):
        if isinstance(found, Problem):
            yield found
            continue
        _, row = found
        name = trimmed(row["file_name"])
        yield VideoEntry(key=key_of(name), path=name, caption=row["text"])


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
            f"one of {', '.join(NAMES[1:])} beside them."
        )
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise UserError(f"The folder {folder} has both {names}; remove one.")
    return found[0]


def _entry(source: str, line: int, row: Row) -> Entry:
    name = trimmed(row["file_name"])
    if not name:
        raise UserError(f"{source}, line {line}: file_name is empty; name the video.")
    if is_unsafe(name):
        raise UserError(f"{source}, line {line}: {name} leads out of the folder; move the file in.")
    return Entry(name, one_line(row["text"]), line)
