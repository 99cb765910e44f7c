"""UCF-101: `HandstandPushups/v_HandStandPushups_g01_c01.avi` and 13,319 others.

Its trap: that class is spelt HandstandPushups as a folder and in `classInd.txt`, but
HandStandPushups in its files, so a path cannot be made from a class. Here files are found, not
guessed, and the label is the folder's spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from data_prep.sources.rows import Problem, VideoEntry, key_of
from lightning_artv.data.members import VIDEO_KEYS
from lightning_artv.errors import UserError

_SPELT = {"HandStandPushups": "HandstandPushups"}  # some copies rename the folder like its files


def listed(path: Path) -> Iterator[VideoEntry | Problem]:
    """Every video of every class folder, sorted; the caption is the class in words.

    The class folders are in `path`, or in a folder `UCF-101` there. Copies as other files than
    `.avi` are read as well; folders in class folders, and videos outside of them, are problems.

    Raises:
        UserError: no such folder, or no class folder with videos in it.
    """
    if not path.is_dir():
        raise UserError(f"The folder {path} does not exist.")
    root = path / "UCF-101" if (path / "UCF-101").is_dir() else path
    found = [
        item
        for place in _visible(root)
        for item in (_of_class(place, path) if place.is_dir() else _outside(place, path))
    ]
    if not any(isinstance(item, VideoEntry) for item in found):
        problem = next((item for item in found if isinstance(item, Problem)), None)
        reason = f" ({problem.path}: {problem.reason})" if problem else ""
        raise UserError(
            f"{path} holds no class folders with videos, such as Archery/v_Archery_g01_c01.avi"
            f"{reason}; name UCF-101's folder."
        )
    yield from found


def _of_class(folder: Path, root: Path) -> Iterator[VideoEntry | Problem]:
    label = _SPELT.get(folder.name, folder.name)
    for file in _visible(folder):
        name = file.relative_to(root).as_posix()
        if file.is_dir():
            yield Problem(key_of(name), name, "bad_row", _why_not(file, folder))
        elif _is_video(file):
            yield VideoEntry(key_of(file.name), name, words(label), label=label)


def _why_not(inner: Path, folder: Path) -> str:
    """What to do about a folder in a class folder."""
    if any(_is_video(file) for file in _visible(inner)):
        return f"it is a folder of videos in a class folder: move them up into {folder.name}"
    return "it is a folder, not a video: encode its pictures (ffmpeg -i %d.jpg x.avi)"


def _outside(file: Path, root: Path) -> Iterator[Problem]:
    if _is_video(file):
        name = file.relative_to(root).as_posix()
        reason = "it is in no class folder, so that its class is not known: move it into one"
        yield Problem(key_of(file.name), name, "bad_row", reason)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_video(file: Path) -> bool:
    return file.suffix[1:].lower() in VIDEO_KEYS


def words(label: str) -> str:
    """`HandstandPushups` -> `handstand pushups`."""
    return " ".join(re.findall(r"[A-Z][a-z]*|[a-z]+|\d+", label)).lower()
