"""The videos of a folder, in order, and a word about everything that is left out.

A video is a file that FFmpeg reads, a folder of pictures, or a `.npy` array of one or more videos.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evaluation.arrays import ARRAY_SUFFIX, count_videos, holds_videos, open_array
from evaluation.notes import Warn, on_stderr
from lightning_artv.errors import UserError
from lightning_artv.numbers import whole_number

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mj2", ".f4v", ".ismv", ".mkv", ".webm"),
    *(".mk3d", ".avi", ".divx", ".xvid", ".wmv", ".asf", ".flv", ".gif", ".apng", ".ts", ".mts"),
    *(".m2ts", ".m2t", ".trp", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".mpv", ".vob", ".evo"),
    *(".ogv", ".ogg", ".ogm", ".mxf", ".gxf", ".nut", ".nuv", ".dv", ".dif", ".rm", ".rmvb"),
    *(".y4m", ".ivf", ".obu", ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".h266", ".266"),
    *(".vvc", ".av1", ".vc1", ".mjpeg", ".mjpg", ".amv", ".wtv", ".roq", ".bik", ".smk", ".flic"),
    *(".fli", ".flc", ".nsv", ".mve", ".drc", ".cavs", ".avs2", ".avs3"),
)
"""Files that hold moving pictures and that FFmpeg opens by their content."""
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
DOCUMENTS = (
    *(".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt", ".md", ".rst", ".yaml", ".yml"),
    *(".toml", ".xml", ".html", ".htm", ".pdf", ".tex", ".log", ".ini", ".cfg", ".parquet"),
    *(".lock", ".sh", ".py", ".ipynb"),
)
"""Files that nobody takes for videos: tables, texts and reports beside them."""


@dataclass(frozen=True)
class SetVideo:
    """One video of a set.

    Attributes:
        path: a file, or a folder of pictures.
        name: its path in the set without suffix: the key of its random choices.
        label: its class, or empty.
        captions: what it shows; empty where nothing says so.
        index: which video of an array of several it is.
    """

    path: Path
    name: str
    label: str = ""
    captions: tuple[str, ...] = ()
    index: int | None = None


def natural_key(path: str | Path) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """A sort key by which `frame2` comes before `frame10`, folder by folder."""
    return tuple(
        tuple(_part_key(part) for part in re.split(r"([0-9]+)", name) if part)
        for name in Path(path).parts
    )


def _part_key(part: str) -> tuple[int, int, str]:
    number = whole_number(part)
    return (1, 0, part) if number is None else (0, number, part)


def find_videos(root: str | Path, warn: Warn = on_stderr) -> list[SetVideo]:
    """All videos below `root` in natural order; their label is the folder that they are in.

    Hidden names are no part of a set: `.x.part` is what an interrupted writer leaves.

    Args:
        root: a folder; links to folders are followed.
        warn: takes a sentence on each kind of thing that is left out.

    Raises:
        UserError: no such folder, or no video in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"There is no folder '{root}': give a folder of videos.")
    found: list[Path] = []
    left_out: dict[str, list[Path]] = defaultdict(list)
    for folder, has_folders, files in _walk(root, left_out[_UNREADABLE]):
        found += _videos_of(folder, folder == root, files, has_folders, left_out)
    if not found:
        for path in left_out[_ARRAYS]:
            open_array(path)  # says what it holds instead
        instead = [f", but {reason} ({len(paths)})" for reason, paths in left_out.items() if paths]
        raise UserError(
            f"'{root}' holds no video{''.join(instead)}: give files such as .mp4, .avi, .webm or "
            ".gif, arrays (.npy) or folders of pictures."
        )
    for reason, paths in left_out.items():
        if paths:
            warn(_left_out(root, reason, sorted(paths, key=natural_key)))
    found.sort(key=lambda path: natural_key(path.relative_to(root)))
    return [video for path in found for video in _of_path(path, root)]


def files_of(video: SetVideo) -> list[Path]:
    """The file that a video is, or its pictures in order."""
    return pictures_in(video.path) if video.path.is_dir() else [video.path]


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in natural order."""
    pictures = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    ]
    return sorted(pictures, key=lambda path: natural_key(path.name))


_UNREADABLE = "folders that cannot be read"
_EMPTY = "folders without a file"
_IN_ROOT = "pictures in the folder itself, where frames of a video need a folder of their own"
_BESIDE = "pictures beside videos, taken for thumbnails"
_UNFINISHED = "unfinished videos (*.partial), which an interrupted `lightning generate` left"
_ARRAYS = "arrays that are no videos, which are uint8 [T, H, W, 3] or [N, T, H, W, 3]"
_OTHER = "files that are no videos"


def _videos_of(
    folder: Path,
    is_root: bool,
    files: list[Path],
    has_folders: bool,
    left_out: dict[str, list[Path]],
) -> list[Path]:
    """The videos that a folder holds or is; the rest is put into `left_out`."""
    left_out[_UNFINISHED] += [path for path in files if path.stem.endswith(".partial")]
    files = [path for path in files if not path.stem.endswith(".partial")]
    arrays = [path for path in files if path.suffix.lower() == ARRAY_SUFFIX]
    of_videos = [path for path in arrays if holds_videos(path)]
    videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES] + of_videos
    pictures = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
    known = {*VIDEO_SUFFIXES, ARRAY_SUFFIX, *PICTURE_SUFFIXES, *DOCUMENTS}
    left_out[_ARRAYS] += [path for path in arrays if path not in of_videos]
    left_out[_OTHER] += [path for path in files if path.suffix.lower() not in known]
    if not (files or has_folders or is_root):
        left_out[_EMPTY].append(folder)
    if pictures and not videos and not is_root:
        if folder.name.endswith(".partial"):
            left_out[_UNFINISHED].append(folder)
            return []
        return [folder]
    left_out[_BESIDE if videos else _IN_ROOT] += pictures
    return videos


def _walk(root: Path, unreadable: list[Path]) -> Iterator[tuple[Path, bool, list[Path]]]:
    """Folders with whether they hold folders, and their files; hidden names are left out.

    A link back to a folder above it is not followed.
    """
    above = {root: {os.path.realpath(root)}}
    for name, folders, files in os.walk(
        root, onerror=lambda error: unreadable.append(Path(error.filename)), followlinks=True
    ):
        folder = Path(name)
        parents = above.pop(folder)
        real = {sub: os.path.realpath(folder / sub) for sub in folders if not sub.startswith(".")}
        folders[:] = [sub for sub, path in real.items() if path not in parents]
        above |= {folder / sub: parents | {real[sub]} for sub in folders}
        yield folder, bool(folders), [folder / f for f in files if not f.startswith(".")]


def _left_out(root: Path, reason: str, paths: list[Path]) -> str:
    kinds = Counter(path.suffix.lower() or "without suffix" for path in paths)
    many = ", ".join(f"{n} {kind}" for kind, n in kinds.items()) if reason == _OTHER else len(paths)
    first = paths[0].relative_to(root).as_posix()
    return f"Left out of '{root}': {reason} ({many}; the first is '{first}')."


def _of_path(path: Path, root: Path) -> list[SetVideo]:
    relative = path.relative_to(root)
    name = (relative if path.is_dir() else relative.with_suffix("")).as_posix()
    label = relative.parent.name
    count = count_videos(path) if path.suffix.lower() == ARRAY_SUFFIX and path.is_file() else None
    if count is None:
        return [SetVideo(path, name, label)]
    digits = len(str(count - 1))
    return [SetVideo(path, f"{name}/{i:0{digits}d}", label, index=i) for i in range(count)]
