"""Any folder of videos, with captions where a csv beside them has some."""

from __future__ import annotations

import csv
import dataclasses
from collections import defaultdict
from pathlib import Path

from evaluation.videos import SetVideo, find_videos
from lightning_artv.errors import DataError, UserError

METADATA = "metadata.csv"


def read_folder(root: str | Path) -> list[SetVideo]:
    """All videos below `root` in natural order, with the captions of its `metadata.csv`.

    `metadata.csv` has the columns `file_name,text`; a video with several lines has several
    captions.

    Raises:
        UserError: no folder, no video in it, or an unusable csv.
    """
    videos = find_videos(root)
    path = Path(root) / METADATA
    captions = read_captions(path) if path.is_file() else {}
    return [
        dataclasses.replace(video, captions=captions.get(_name(video, Path(root)), ()))
        for video in videos
    ]


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """File name -> captions of a csv with the columns `file_name,text`.

    Raises:
        UserError: no such csv, or other columns.
    """
    captions: dict[str, list[str]] = defaultdict(list)
    for row in _rows(path, ("file_name", "text")):
        captions[row["file_name"]].append(row["text"])
    return {name: tuple(texts) for name, texts in captions.items()}


def read_webvid(root: str | Path) -> list[SetVideo]:
    """WebVid: a csv with `videoid,name,page_dir` and the videos `.../<page_dir>/<videoid>.mp4`.

    Raises:
        UserError: no csv of that form.
        DataError: videos that the csv lists are missing.
    """
    root = Path(root)
    tables = sorted([*root.glob("*.csv"), *root.glob("*/*.csv")])
    if not tables:
        raise UserError(f"There is no WebVid csv in '{root}': put results_10M_val.csv there.")
    rows = _rows(tables[0], ("videoid", "name"))
    captions = {row["videoid"]: row["name"] for row in rows}
    videos = [v for v in find_videos(root) if v.path.stem in captions]
    if len(videos) < len(captions):
        raise DataError(
            f"{len(captions) - len(videos)} of the {len(captions)} videos of '{tables[0]}' are not "
            f"below '{root}': download them, or leave their lines out."
        )
    return [
        dataclasses.replace(v, name=v.path.stem, label="", captions=(captions[v.path.stem],))
        for v in videos
    ]


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"'{path}' is not a csv in UTF-8: {error}.") from error
    if not set(columns) <= set(reader.fieldnames or ()):
        raise UserError(f"'{path}' must have the columns {','.join(columns)}.")
    if any(row[column] is None for row in rows for column in columns):
        raise UserError(f"'{path}' has a line with fewer cells than columns: repair it.")
    return rows


def _name(video: SetVideo, root: Path) -> str:
    return video.path.relative_to(root).as_posix()
