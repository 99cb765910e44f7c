"""A folder of videos with a list of captions beside them, see `data_prep.sources.metadata`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_prep.sources.metadata import COLUMNS, find_metadata
from data_prep.sources.rows import Problem, VideoEntry, key_of
from data_prep.sources.tabular import list_rows


def listed(path: Path) -> Iterator[VideoEntry | Problem]:
    """The rows of the folder's metadata; paths are relative to the folder."""
    for found in list_rows(find_metadata(path), COLUMNS):
        if isinstance(found, Problem):
            yield found
            continue
        _, row = found
        name = row["file_name"].strip()
        yield VideoEntry(key=key_of(name), path=name, caption=row["text"])
