"""WebVid: a table with `videoid,name,page_dir`, and the videos `.../<page_dir>/<videoid>.mp4`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from evaluation.finding import SetVideo
from evaluation.notes import Warn, on_stderr
from evaluation.sets.lookup import files_by_name
from lightning_artv.errors import UserError
from lightning_artv.tables import SUFFIXES, MissingColumns, read_table

_COLUMNS = ("videoid", "name")


def read_webvid(root: str | Path, warn: Warn = on_stderr) -> list[SetVideo]:
    """The videos of the one WebVid table in a folder, or in a folder in it, in natural order.

    Args:
        root: the folder.
        warn: takes sentences on what is left out.

    Raises:
        UserError: no table of that form, several, or two videos for one line.
        DataError: videos that the table lists are missing.
    """
    root = Path(root)
    table, captions = _table(root)
    files = files_by_name(root, captions, f"'{table}'", captions, warn)
    return [SetVideo(video.path, name, captions=captions[name]) for name, video in files.items()]


def _table(root: Path) -> tuple[Path, dict[str, tuple[str, ...]]]:
    """The table and its captions by video id."""
    files = sorted(path for depth in ("*", "*/*") for path in root.glob(depth) if _is_table(path))
    found: dict[Path, dict[str, tuple[str, ...]]] = {}
    other = ""
    for path in files:
        try:
            found[path] = _captions(path)
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


def _captions(path: Path) -> dict[str, tuple[str, ...]]:
    captions: dict[str, dict[str, None]] = defaultdict(dict)
    for _, row in read_table(path, _COLUMNS):
        captions[row["videoid"].strip()][" ".join(row["name"].split())] = None
    return {name: tuple(texts) for name, texts in captions.items()}


def _is_table(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith(SUFFIXES) and not name.startswith(".") and path.is_file()
