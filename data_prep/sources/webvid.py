"""WebVid: `videoid,name,page_idx,page_dir,duration,contentUrl`; `{page_dir}/{videoid}.mp4`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from data_prep.sources.rows import Problem, VideoEntry, key_of
from data_prep.sources.tabular import list_rows, number
from lightning_artv.names import trimmed

_DURATION = re.compile(r"P(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)", re.ASCII)


def listed(path: Path) -> Iterator[VideoEntry | Problem]:
    """The rows of the CSV; paths are relative to the folder of page folders."""
    for found in list_rows(path, ("videoid", "name", "page_dir"), ("duration",)):
        if isinstance(found, Problem):
            yield found
            continue
        line, row = found
        video, page = trimmed(row["videoid"]), trimmed(row["page_dir"])
        if not video or not page:
            yield Problem(f"line {line}", "", "bad_row", "videoid or page_dir is empty")
            continue
        yield VideoEntry(
            key=key_of(video + ".mp4"),
            path=f"{page}/{video}.mp4",
            caption=row["name"],
            duration=seconds(row.get("duration", "")),
            page_dir=page,
        )


def seconds(text: str) -> float | None:
    """WebVid's `PT00H00M15S`, or a plain number, in seconds; None for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        return number(text)
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + rest
