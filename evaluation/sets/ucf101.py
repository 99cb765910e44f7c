"""UCF-101 in its own layout: `<Class>/v_<Class>_gXX_cYY.avi` beside the official split lists.

Copies as other files (`.mp4`) or as folders of pictures of that name are read as well.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from evaluation.finding import SetVideo, find_videos
from evaluation.notes import Warn, on_stderr
from lightning_artv.errors import DataError, UserError
from lightning_artv.files import read_lines, read_text
from lightning_artv.names import Names, normal_name

_ENTRY = re.compile(r"(?:[0-9]+[\s,;]+)?(.+?)(?:[\s,;]+[0-9]+)*")

SPLITS = ("all", "train01", "train02", "train03", "test01", "test02", "test03")


def read_ucf101(root: str | Path, split: str = "all", warn: Warn = on_stderr) -> list[SetVideo]:
    """The videos of a split in natural order, labelled with their folder's name.

    Videos are known by folder, because `HandstandPushups` holds files named `v_HandStandPushups`.

    Args:
        root: the folder that holds the class folders, or `UCF-101` with them; the lists
            (`trainlist01.txt`, ...) are in it, beside it, or in a folder there.
        split: one of `SPLITS`; `all` needs no lists.
        warn: takes sentences on what is left out.

    Raises:
        UserError: no such folder or list, two different lists, or a video that is there twice.
        DataError: a video of the list is missing.
    """
    if split not in SPLITS:
        raise UserError(f"UCF-101 has no split '{split}': use one of {', '.join(SPLITS)}.")
    root = Path(root)
    folder = root / "UCF-101" if (root / "UCF-101").is_dir() else root
    by_key = _by_key(folder, warn)
    if split == "all":
        return list(by_key.values())
    wanted = _wanted(_find_list(root, folder, split), folder, Names(by_key))
    return [video for key, video in by_key.items() if key in wanted]


def _wanted(path: Path, folder: Path, there: Names) -> set[str]:
    """The keys of the videos that a list names; `there` are those of the folder."""
    found = {name: there.find(name.lower()) for name in _listed(path)}
    missing = [name for name, key in found.items() if key is None]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(found)} videos of '{path}' are not in '{folder}', the "
            f"first is {missing[0]!r}: unpack UCF101.rar there, or correct the list."
        )
    if not found:
        raise UserError(f"The list '{path}' names no video: copy it again.")
    return {key for key in found.values() if key}


def _by_key(folder: Path, warn: Warn) -> dict[str, SetVideo]:
    found: dict[str, SetVideo] = {}
    for video in find_videos(folder, warn):
        if not video.label:
            raise UserError(
                f"'{folder}' is not UCF-101: it must hold class folders with videos, such as "
                f"Archery/v_Archery_g01_c01.avi, and '{video.path}' is in none."
            )
        other = found.setdefault(_key(video.path.relative_to(folder).as_posix()), video)
        if other is not video:
            raise UserError(
                f"'{other.path}' and '{video.path}' are one video of UCF-101: remove one."
            )
    return found


def _find_list(root: Path, folder: Path, split: str) -> Path:
    name = f"{split[:-2]}list{split[-2:]}.txt"
    for place in (root, folder.parent):
        found = sorted([*place.glob(name), *place.glob(f"*/{name}")])
        texts = {read_text(path, "list").strip() for path in found}
        if len(texts) > 1:
            raise UserError(f"'{found[0]}' and '{found[1]}' are different lists: keep one.")
        if found:
            return found[0]
    raise UserError(
        f"There is no {name} in '{root}': unpack UCF101TrainTestSplits-RecognitionTask.zip there, "
        "or use --set split=all."
    )


def _listed(path: Path) -> list[str]:
    """`Class/file.avi` a line, with numbers (a class, frames) before or after it."""
    return [_ENTRY.fullmatch(line)[1].strip("'\"") for line in read_lines(path, "list")]  # type: ignore[index]


def _key(name: str) -> str:
    """`Class/file.avi` without its suffix; case is ignored, and so are folders above the class:
    copies of the set differ in them."""
    return "/".join(posixpath.splitext(normal_name(name))[0].lower().split("/")[-2:])
