"""OpenVid-1M's CSV: `video,caption,aesthetic score,motion score,temporal consistency score,camera
motion,frame,fps,seconds,new id`; the files lie in one folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_prep.sources.rows import Problem, VideoEntry, key_of
from data_prep.sources.tabular import list_rows, number
from lightning_artv.names import trimmed

_OPTIONAL = (
    *("seconds", "aesthetic score", "motion score"),
    *("temporal consistency score", "camera motion"),
)


def listed(path: Path) -> Iterator[VideoEntry | Problem]:
    """The rows of the CSV; only `video` and `caption` must be there (OpenVidHD lacks some)."""
    for found in list_rows(path, ("video", "caption"), _OPTIONAL):
        if isinstance(found, Problem):
            yield found
            continue
        line, row = found
        video = trimmed(row["video"])
        if not video:
            yield Problem(f"line {line}", "", "bad_row", "video is empty")
            continue
        yield VideoEntry(
            key=key_of(video),
            path=video,
            caption=row["caption"],
            duration=number(row.get("seconds")),
            aesthetic=number(row.get("aesthetic score")),
            source_motion=number(row.get("motion score")),
            temporal_consistency=number(row.get("temporal consistency score")),
            camera_motion=row.get("camera motion", "").strip() or None,
        )
