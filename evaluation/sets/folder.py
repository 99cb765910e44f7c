"""Any folder of videos, with captions where a table beside them has some."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from evaluation.finding import SetVideo, find_videos
from evaluation.notes import Warn, on_stderr
from evaluation.sets.lookup import grouped, spoken
from lightning_artv.errors import UserError
from lightning_artv.names import Names
from lightning_artv.tables import SUFFIXES, read_table

METADATA = "metadata.csv"


def read_folder(root: str | Path, warn: Warn = on_stderr) -> list[SetVideo]:
    """All videos below `root` in natural order, with the captions of its `metadata.csv`.

    The table (see `metadata_of`) has the columns `file_name,text`; a video with several lines has
    several captions. Names may lack the suffix, have folders in front, and be in any Unicode form.

    Args:
        root: the folder.
        warn: takes sentences on what is left out, and on lines and videos that do not match.

    Raises:
        UserError: no folder, no video in it, an unusable table, or a name that may mean two
            videos.
    """
    root = Path(root)
    videos = find_videos(root, warn)
    path = metadata_of(root)
    if path is None:
        return videos
    written = [_written(video, root) for video in videos]
    captions = _of_videos(path, written, warn)
    without = [name for name in written if not captions.get(name)]
    if without:
        warn(
            f"{len(without)} of the {len(videos)} videos in '{root}' have no caption in "
            f"{path.name}, the first is '{without[0]}': add a line for each."
        )
    return [
        dataclasses.replace(video, captions=captions.get(name, ()))
        for video, name in zip(videos, written, strict=True)
    ]


def _of_videos(path: Path, names: Sequence[str], warn: Warn) -> dict[str, tuple[str, ...]]:
    """The captions of a table by the videos' own names.

    Args:
        path: the table.
        names: names of the videos that are there.
        warn: takes sentences on lines that are left out.
    """
    written = spoken(path, read_captions(path), warn)
    there = Names(names)
    captions: dict[str, tuple[str, ...]] = defaultdict(tuple)
    absent = []
    for file_name, texts in written.items():
        found = there.find(file_name)
        if found is None:
            absent.append(file_name)
        else:
            captions[found] += texts
    if absent:
        warn(
            f"{len(absent)} of the {len(written)} videos that '{path}' names are not there, the "
            f"first is '{absent[0]}': make them, or leave their lines out."
        )
    return captions


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """File name -> captions of a table with the columns `file_name,text`.

    Raises:
        UserError: no such table, other columns, or a row that cannot be used.
    """
    rows = (row for _, row in read_table(path, ("file_name", "text")))
    captions = grouped((row["file_name"], row["text"]) for row in rows)
    return {name: tuple(texts) for name, texts in captions.items()}


def metadata_of(folder: Path) -> Path | None:
    """The table of captions in a folder: `metadata.csv`, `.tsv`, `.jsonl`, `.parquet`; or None.

    Raises:
        UserError: there are several.
    """
    tables = [path for suffix in SUFFIXES if (path := folder / f"metadata{suffix}").is_file()]
    if len(tables) > 1:
        names = " and ".join(path.name for path in tables)
        raise UserError(f"'{folder}' holds {names}: keep the one with the captions.")
    return tables[0] if tables else None


def _written(video: SetVideo, root: Path) -> str:
    """A video's path with its suffix; a part of an array has none."""
    return video.path.relative_to(root).as_posix() if video.index is None else video.name
