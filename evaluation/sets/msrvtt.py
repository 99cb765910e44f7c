"""MSR-VTT in its own layout: json files with `videos` and `sentences`, and a folder of videos."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.finding import SetVideo, natural_key
from evaluation.notes import Warn, on_stderr
from evaluation.sets.lookup import files_by_name
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
    videos = _annotations(root)
    wanted = sorted((n for n, v in videos.items() if split in (v.split, "all")), key=natural_key)
    if not wanted:
        known = ", ".join(sorted({video.split for video in videos.values()}))
        raise UserError(f"MSR-VTT in '{root}' has no split '{split}': its splits are {known}.")
    files = files_by_name(root, wanted, f"MSR-VTT {split}", videos, warn)
    return [SetVideo(files[name].path, name, captions=videos[name].captions) for name in wanted]


def _annotations(root: Path) -> dict[str, _Annotated]:
    """Video id -> what the json files say, which must be one thing."""
    found: dict[str, tuple[Path, _Annotated]] = {}
    for path in sorted([*root.glob("[!.]*.json"), *root.glob("*/[!.]*.json")]):
        for name, video in _videos(path).items():
            first, other = found.setdefault(name, (path, video))
            if other != video:
                what = "split" if other.split != video.split else "captions"
                raise UserError(
                    f"'{first}' and '{path}' give {name} different {what}, so that prompts would "
                    "depend on which is read: keep one of them there."
                )
    if not found:
        raise UserError(
            f"There is no MSR-VTT json with 'videos' and 'sentences' in '{root}': put "
            "test_videodatainfo.json there."
        )
    return {name: video for name, (_, video) in found.items()}


def _videos(path: Path) -> dict[str, _Annotated]:
    """What one json file says; nothing for a json of something else."""
    content = read_json(path, "json")
    if not isinstance(content, dict) or not {"videos", "sentences"} <= set(content):
        return {}
    try:
        return _annotated(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"'{path}' is no MSR-VTT json ({error!r}): each video needs a video_id, each sentence "
            "a video_id, a caption and a sen_id of its own."
        ) from error


def _annotated(content: dict[str, Any]) -> dict[str, _Annotated]:
    captions: dict[str, dict[int, str]] = defaultdict(dict)
    for number, entry in enumerate(content["sentences"]):
        sentence = int(entry.get("sen_id", number))
        if sentence in captions[entry["video_id"]]:
            raise ValueError(f"{entry['video_id']} has the sen_id {sentence} twice")
        captions[entry["video_id"]][sentence] = " ".join(entry["caption"].split())
    splits: dict[str, str] = {}
    for video in content["videos"]:
        split = video.get("split", "test")
        if splits.setdefault(video["video_id"], split) != split:
            raise ValueError(f"{video['video_id']} is in two splits")
    return {
        name: _Annotated(split, tuple(text for _, text in sorted(captions[name].items())))
        for name, split in splits.items()
    }
