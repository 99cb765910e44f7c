"""UCF-101 in its own layout: `<Class>/v_<Class>_gXX_cYY.avi` beside the official split lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation.notes import Warn, on_stderr
from evaluation.videos import SetVideo, find_videos
from lightning_artv.errors import DataError, UserError

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
        UserError: no such folder or split list.
        DataError: a video of the list is missing.
    """
    if split not in SPLITS:
        raise UserError(f"UCF-101 has no split '{split}': use one of {', '.join(SPLITS)}.")
    root = Path(root)
    folder = root / "UCF-101" if (root / "UCF-101").is_dir() else root
    videos = [v for v in find_videos(folder, warn) if v.path.is_file()]
    if not videos or any(not video.label for video in videos):
        raise UserError(
            f"'{folder}' is not UCF-101: it must hold class folders with .avi files, such as "
            "Archery/v_Archery_g01_c01.avi."
        )
    if split == "all":
        return videos
    listed = _listed(_find_list(root, folder, split))
    by_key = {_key(f"{v.label}/{v.path.name}"): v for v in videos}
    missing = [name for name in listed if _key(name) not in by_key]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(listed)} videos of {split} are not in '{folder}', the "
            f"first is {missing[0]}: unpack UCF101.rar again."
        )
    wanted = {_key(name) for name in listed}
    return [video for key, video in by_key.items() if key in wanted]


def _find_list(root: Path, folder: Path, split: str) -> Path:
    name = f"{split[:-2]}list{split[-2:]}.txt"
    for place in (root, folder.parent):
        found = sorted(place.glob(f"{name}")) + sorted(place.glob(f"*/{name}"))
        if found:
            return found[0]
    raise UserError(
        f"There is no {name} in '{root}': unpack UCF101TrainTestSplits-RecognitionTask.zip there, "
        "or use --set split=all."
    )


def _listed(path: Path) -> Sequence[str]:
    """`Class/file.avi` or `Class/file.avi 37` a line."""
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return [words[0] for words in lines if words]


def _key(name: str) -> str:
    """Case is ignored: copies of the set differ in it."""
    return name.lower()
