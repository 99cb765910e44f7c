"""Examples of kept and dropped videos: a thumbnail, the caption, the scores."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from data_prep.sources.files import read_source
from data_prep.tables import Row, TableReader
from lightning_artv.data.decode import Video
from lightning_artv.pages.page import inline

WIDTH = 200


@dataclass(frozen=True)
class Example:
    """One video as the page shows it; `picture` is an address, empty without a picture."""

    key: str
    caption: str
    scores: str
    picture: str


def examples(reader: TableReader, numbers: Sequence[int], most: int) -> list[Example]:
    """At most `most` of a table's rows, evenly spread."""
    step = max(1, len(numbers) / most)
    chosen = [numbers[int(k * step)] for k in range(min(most, len(numbers)))]
    return [_example(reader.row(number)) for number in chosen]


def _example(row: Row) -> Example:
    scores = [
        f"{name} {row[column]:.3g}"
        for name, column in (("motion", "motion"), ("CLIP", "clip_score"))
        if row.get(column) is not None
    ]
    if row.get("duplicate_of"):
        scores.append(f"as {row['duplicate_of']}")
    if row.get("error"):
        scores.append(row["error"])
    return Example(row["key"], row["caption"] or "", " · ".join(scores), _thumbnail(row["path"]))


def _thumbnail(path: str) -> str:
    """The middle frame as a JPEG, or nothing."""
    try:
        source = read_source(path)
        with Video(source) as video:
            frame = video.frames([len(video.timestamps) // 2])[0]
    except Exception:  # the row says what is wrong with it
        return ""
    image = Image.fromarray(frame.permute(1, 2, 0).numpy())
    image.thumbnail((WIDTH, WIDTH))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return inline(buffer.getvalue(), "jpeg")
