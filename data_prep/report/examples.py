"""Thumbnails of kept and dropped videos."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image

from data_prep.files import read_source
from data_prep.tables import Row, TableReader
from lightning_artv.data.decode import Video

WIDTH = 200


def gallery(reader: TableReader, numbers: Sequence[int], most: int) -> str:
    """HTML of at most `most` of a table's rows, evenly spread, each with its caption and scores."""
    step = max(1, len(numbers) / most)
    chosen = [numbers[int(k * step)] for k in range(min(most, len(numbers)))]
    return f'<div class="gallery">{"".join(_figure(reader.row(n)) for n in chosen)}</div>'


def _figure(row: Row) -> str:
    scores = [
        f"{name} {row[column]:.3g}"
        for name, column in (("motion", "motion"), ("CLIP", "clip_score"))
        if row.get(column) is not None
    ]
    if row.get("duplicate_of"):
        scores.append(f"as {row['duplicate_of']}")
    if row.get("error"):
        scores.append(row["error"])
    return (
        f"<figure>{_thumbnail(row['path'])}<figcaption><b>{escape(row['key'])}</b> "
        f"{escape(row['caption'] or '')}<br><span>{escape(' · '.join(scores))}</span>"
        "</figcaption></figure>"
    )


def _thumbnail(path: str) -> str:
    """The middle frame as inline JPEG, or an empty box."""
    try:
        source = read_source(path)
        with Video(source) as video:
            frame = video.frames([len(video.timestamps) // 2])[0]
    except Exception:  # the row says what is wrong with it
        return '<div class="none">no picture</div>'
    image = Image.fromarray(frame.permute(1, 2, 0).numpy())
    image.thumbnail((WIDTH, WIDTH))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="">'
