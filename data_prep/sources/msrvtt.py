"""MSR-VTT's json: `{"videos": [...], "sentences": [...]}`; the files are `{video_id}.mp4`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep.sources.rows import Problem, VideoEntry, key_of
from lightning_artv.errors import UserError
from lightning_artv.files import read_json


def listed(path: Path) -> Iterator[VideoEntry | Problem]:
    """One entry per video, with the first of its (usually 20) sentences that is not empty.

    Raises:
        UserError: no such file, or no MSR-VTT json.
    """
    content = _load(path)
    captions: dict[str, str] = {}
    for sentence in content["sentences"]:
        video, caption = _text(sentence, "video_id").strip(), _text(sentence, "caption")
        if video and caption.strip():
            captions.setdefault(video, caption)
    for position, video in enumerate(content["videos"]):
        name = _text(video, "video_id").strip()
        if not name:
            yield Problem(f"video {position}", "", "bad_row", "video_id is missing")
            continue
        start, end = (video.get(key) for key in ("start time", "end time"))
        timed = isinstance(start, int | float) and isinstance(end, int | float)
        yield VideoEntry(
            key=key_of(name + ".mp4"),
            path=f"{name}.mp4",
            caption=captions.get(name, ""),
            duration=float(end - start) if timed else None,
            split=_text(video, "split") or None,
        )


def _text(item: Any, key: str) -> str:
    value = item.get(key) if isinstance(item, dict) else None
    return value if isinstance(value, str) else ""


def _load(path: Path) -> dict[str, list[Any]]:
    content = read_json(path, "list", surrogates=True)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ("videos", "sentences")
    ):
        raise UserError(f"{path} is no MSR-VTT list: it needs `videos` and `sentences`.")
    return content
