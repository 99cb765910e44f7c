"""MSR-VTT in its own layout: json files with `videos` and `sentences`, and a folder of videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.finding import SetVideo, natural_key
from evaluation.notes import Warn, on_stderr
from evaluation.sets.lookup import files_by_name, grouped, spoken, video_id, visible_files
from lightning_artv.errors import UserError
from lightning_artv.files import read_json


@dataclass(frozen=True)
class _Annotated:
    """What a json says of a video: its split, and its captions in the order of their ids."""

    split: str
    captions: tuple[str, ...]


def read_msrvtt(root: str | Path, split: str = "test", warn: Warn = on_stderr) -> list[SetVideo]:
    """The videos of a split in natural order with all their captions.

    Args:
        root: holds the json (`test_videodatainfo.json`, `MSRVTT_data.json`, ...) and, anywhere
            below, `video<id>.mp4`. Several json files may share the videos, or agree about them.
        split: `train`, `validate`, `test` or `all`.
        warn: takes sentences on what is left out.

    Raises:
        UserError: no json, two that say different things of a video, or nothing of that split.
        DataError: videos of the split are missing.
    """
    root = Path(root)
    videos = _annotations(root, warn)
    wanted = sorted((n for n, v in videos.items() if split in (v.split, "all")), key=natural_key)
    if not wanted:
        known = ", ".join(sorted({video.split for video in videos.values()}))
        raise UserError(f"MSR-VTT in '{root}' has no split '{split}': its splits are {known}.")
    files = files_by_name(root, wanted, f"MSR-VTT {split}", videos, warn)
    return [SetVideo(files[name].path, name, captions=videos[name].captions) for name in wanted]


def _annotations(root: Path, warn: Warn) -> dict[str, _Annotated]:
    """Video id -> what the json files say, which must be one thing."""
    found: dict[str, tuple[Path, _Annotated]] = {}
    unreadable = []
    for path in visible_files(root, (".json",)):
        try:
            content = read_json(path, "json")
        except UserError as error:
            unreadable.append(str(error))
            continue
        for name, video in _videos(path, content, warn).items():
            first, other = found.setdefault(name, (path, video))
            if other != video:
                what = "split" if other.split != video.split else "captions"
                raise UserError(
                    f"'{first}' and '{path}' give {name} different {what}, so that prompts would "
                    "depend on which is read: keep one of them there."
                )
    if not found:
        raise UserError(
            unreadable[0]
            if unreadable
            else f"There is no MSR-VTT json with 'videos' and 'sentences' in '{root}': put "
            "test_videodatainfo.json there."
        )
    for sentence in unreadable:
        warn(f"A file is left out. {sentence}")
    return {name: video for name, (_, video) in found.items()}


def _videos(path: Path, content: Any, warn: Warn) -> dict[str, _Annotated]:
    """What one json file says; nothing for a json of something else."""
    if not isinstance(content, dict) or not {"videos", "sentences"} <= set(content):
        return {}
    try:
        splits, lines = _splits(content["videos"]), _lines(content["sentences"])
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise UserError(
            f"'{path}' is no MSR-VTT json ({error!r}): each video needs a video_id, each sentence "
            "a video_id, a caption and a sen_id of its own."
        ) from error
    captions = spoken(path, grouped(lines), warn)
    strangers = [name for name in captions if name not in splits]
    if strangers:
        warn(
            f"{len(strangers)} videos have sentences in '{path}' but are none of its videos, the "
            f"first is '{strangers[0]}': their sentences are left out."
        )
    return {name: _Annotated(split, captions.get(name, ())) for name, split in splits.items()}


def _lines(sentences: Any) -> list[tuple[str, str]]:
    """(video id, caption) in the order of the sentences' ids."""
    captions: dict[tuple[str, int], str] = {}
    for number, entry in enumerate(sentences):
        sentence, name = int(entry.get("sen_id", number)), _id(entry)
        if (name, sentence) in captions:
            raise ValueError(f"{name} has the sen_id {sentence} twice")
        captions[name, sentence] = " ".join(entry["caption"].split())
    return [(name, captions[name, sentence]) for name, sentence in sorted(captions)]


def _splits(videos: Any) -> dict[str, str]:
    """Video id -> split; a json without splits is that of the test."""
    splits: dict[str, str] = {}
    for video in videos:
        split = str(video.get("split") or "test").strip().lower()
        if splits.setdefault(_id(video), split) != split:
            raise ValueError(f"{_id(video)} is in two splits")
    return splits


def _id(entry: Any) -> str:
    name = entry["video_id"]
    if not isinstance(name, str | int) or not str(name).strip():
        raise ValueError(f"the video_id {name!r} names nothing")
    return video_id(str(name))
