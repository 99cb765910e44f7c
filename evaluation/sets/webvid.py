"""WebVid: a table with `videoid,name,page_dir`, and the videos `.../<page_dir>/<videoid>.mp4`."""

from __future__ import annotations

from pathlib import Path

from evaluation.finding import SetVideo
from evaluation.notes import Warn, on_stderr
from evaluation.sets.lookup import files_by_name, grouped, spoken, video_id, visible_files
from lightning_artv.errors import UserError
from lightning_artv.tables import SUFFIXES, MissingColumns, read_table

_COLUMNS = ("videoid", "name")


def read_webvid(root: str | Path, warn: Warn = on_stderr) -> list[SetVideo]:
    """The videos of the one WebVid table in a folder, or in folders in it, in natural order.

    Args:
        root: the folder.
        warn: takes sentences on what is left out.

    Raises:
        UserError: no table of that form, several, one without videos, or two videos for one line.
        DataError: videos that the table lists are missing.
    """
    root = Path(root)
    table, lines = _table(root)
    captions = spoken(table, grouped(lines), warn)
    if "" in captions:
        raise UserError(f"'{table}' has a line without a videoid: write it, or remove the line.")
    if not captions:
        raise UserError(f"'{table}' lists no videos: add lines with videoid and name.")
    files = files_by_name(root, captions, f"'{table}'", captions, warn)
    return [SetVideo(video.path, name, captions=captions[name]) for name, video in files.items()]


def _table(root: Path) -> tuple[Path, list[tuple[str, str]]]:
    """The table and its lines (video id, caption), each once."""
    found: dict[Path, list[tuple[str, str]]] = {}
    other = ""
    for path in visible_files(root, SUFFIXES):
        try:
            found[path] = _lines(path)
        except MissingColumns as error:
            other = other or f" ({error})"
    if not found:
        raise UserError(
            f"There is no WebVid csv in '{root}'{other}: put results_10M_val.csv there."
        )
    if len(found) > 1:
        names = " and ".join(f"'{path}'" for path in list(found)[:2])
        raise UserError(f"There are {len(found)} WebVid tables, such as {names}: keep one there.")
    return next(iter(found.items()))


def _lines(path: Path) -> list[tuple[str, str]]:
    rows = (row for _, row in read_table(path, _COLUMNS))
    lines = ((video_id(row["videoid"]), " ".join(row["name"].split())) for row in rows)
    return list(dict.fromkeys(lines))
