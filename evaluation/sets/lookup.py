"""What a set's lists and tables name: the files of its videos, and their captions."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from evaluation.finding import VIDEO_SUFFIXES, SetVideo, find_videos
from evaluation.notes import Warn
from lightning_artv.errors import DataError, UserError
from lightning_artv.files import one_line
from lightning_artv.names import trimmed

_DEPTHS = ("*", "*/*", "*/*/*")


def visible_files(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files with one of these suffixes in a folder and two levels below, sorted."""
    found = [path for depth in _DEPTHS for path in root.glob(depth)]
    return sorted(
        path
        for path in found
        if path.name.lower().endswith(suffixes)
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
    )


def video_id(text: str) -> str:
    """The id of a video in a list that may write it with its file's suffix."""
    whole = trimmed(text)
    name, suffix = os.path.splitext(whole)
    return name if suffix.lower() in VIDEO_SUFFIXES else whole


def grouped(lines: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The captions of each name, each on one line, of (name, caption) in order."""
    captions: dict[str, list[str]] = defaultdict(list)
    for name, text in lines:
        captions[name].append(one_line(text))
    return dict(captions)


def spoken(
    source: Path, captions: Mapping[str, Sequence[str]], warn: Warn
) -> dict[str, tuple[str, ...]]:
    """The captions of each name without the empty ones.

    Args:
        source: where they are from.
        captions: by name.
        warn: takes a sentence on captions that are left out.
    """
    empty = [name for name, texts in captions.items() for text in texts if not text]
    if empty:
        warn(
            f"{len(empty)} lines of '{source}' have no caption and are left out, the first is that "
            f"of '{empty[0]}'."
        )
    return {name: tuple(text for text in texts if text) for name, texts in captions.items()}


def files_by_name(
    root: Path, names: Collection[str], what: str, known: Collection[str], warn: Warn
) -> dict[str, SetVideo]:
    """Name -> the one video below `root` whose file is called so but for its suffix.

    Args:
        root: the set's folder.
        names: names that must all be there, once.
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
