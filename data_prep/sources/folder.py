"""A folder of videos with `metadata.csv` (`file_name,text`) or `metadata.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_prep.metadata import find_metadata
from data_prep.rows import Problem, VideoEntry, key_of
from data_prep.sources.tabular import csv_rows, json_rows


def listed(path: Path) -> Iterator[VideoEntry | Problem]:
    """The rows of the folder's metadata; paths are relative to the folder."""
    metadata = find_metadata(path)
    lines = metadata.suffix == ".jsonl"
    rows = json_rows(metadata) if lines else csv_rows(metadata, ("file_name", "text"))
    for found in rows:
        if isinstance(found, Problem):
            yield found
            continue
        line, row = found
        name = row.get("file_name", "").strip()
        if not name or "text" not in row:
            yield Problem(f"line {line}", name, "bad_row", "file_name or text is missing")
            continue
        yield VideoEntry(key=key_of(name), path=name, caption=row["text"])
