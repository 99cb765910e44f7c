"""The files of a set's videos, wherever they lie below its folder."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from evaluation.finding import SetVideo, find_videos
from evaluation.notes import Warn
from lightning_artv.errors import DataError, UserError


def files_by_name(
    root: Path, names: Collection[str], what: str, known: Collection[str], warn: Warn
) -> dict[str, SetVideo]:
    """Name -> the one video below `root` whose file is called so but for its suffix.

    Args:
        root: the set's folder.
        names: that must all be there, once.
        what: the set in messages, such as "MSR-VTT test".
        known: names of all of the set, of which other splits may be there too.
        warn: takes sentences on what is left out.

    Raises:
        UserError: two files of one name.
        DataError: files are missing.
    """
    wanted = set(names)
    files: dict[str, SetVideo] = {}
    others = []
    for video in find_videos(root, warn):
        name = video.path.stem
        if name not in known:
            others.append(video.path.name)
        if name in wanted and files.setdefault(name, video) is not video:
            raise UserError(
                f"'{files[name].path}' and '{video.path}' are both {name} of {what}: remove one."
            )
    missing = [name for name in names if name not in files]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(wanted)} videos of {what} are not below '{root}', the "
            f"first is {missing[0]}.mp4: unpack them there, or correct the list."
        )
    if others:
        warn(
            f"{len(others)} videos below '{root}' are not of {what} and are left out, the first "
            f"is '{others[0]}'."
        )
    return files
