"""UCF-101 in its own layout: `<Class>/v_<Class>_gXX_cYY.avi` beside the official split lists.

Copies as other files (`.mp4`) or as folders of pictures of that name are read as well.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

from evaluation.finding import SetVideo, find_videos
from evaluation.notes import Warn, on_stderr
from lightning_artv.errors import DataError, UserError
from lightning_artv.files import read_text
from lightning_artv.names import normal_name

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
    path = _find_list(root, folder, split)
    listed = _listed(path)
    missing = [name for name in listed if _key(name) not in by_key]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(listed)} videos of {path} are not in '{folder}', the "
            f"first is {missing[0]}: unpack UCF101.rar there, or correct the list."
        )
    wanted = {_key(name) for name in listed}
    return [video for key, video in by_key.items() if key in wanted]


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


def _listed(path: Path) -> Sequence[str]:
    """`Class/file.avi` or `Class/file.avi 37` a line."""
    lines = (line.split() for line in read_text(path, "list").split("\n"))
    return [words[0] for words in lines if words]


def _key(name: str) -> str:
    """`Class/file.avi` without its suffix; case is ignored, and so are folders above the class:
    copies of the set differ in them."""
    return "/".join(posixpath.splitext(normal_name(name))[0].lower().split("/")[-2:])
