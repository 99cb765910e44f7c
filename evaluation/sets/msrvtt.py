"""MSR-VTT in its own layout: json files with `videos` and `sentences`, and a folder of videos."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from evaluation.notes import Warn, on_stderr
from evaluation.videos import SetVideo, find_videos, natural_key
from lightning_artv.errors import DataError, UserError


def read_msrvtt(root: str | Path, split: str = "test", warn: Warn = on_stderr) -> list[SetVideo]:
    """The videos of a split in natural order with all their captions.

    Args:
        root: holds the json (`test_videodatainfo.json`, `MSRVTT_data.json`, ...) and, anywhere
            below, `video<id>.mp4`.
        split: `train`, `validate`, `test` or `all`.
        warn: takes sentences on what is left out.

    Raises:
        UserError: no json, or nothing of that split in it.
        DataError: videos of the split are missing.
    """
    root = Path(root)
    splits, captions = _annotations(root)
    wanted = sorted((v for v, s in splits.items() if split in (s, "all")), key=natural_key)
    if not wanted:
        known = ", ".join(sorted(set(splits.values())))
        raise UserError(f"MSR-VTT in '{root}' has no split '{split}': its splits are {known}.")
    files = {video.path.stem: video.path for video in find_videos(root, warn)}
    missing = [name for name in wanted if name not in files]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(wanted)} videos of MSR-VTT {split} are not below "
            f"'{root}', the first is {missing[0]}.mp4: unpack them there."
        )
    return [SetVideo(files[n], n, captions=tuple(captions.get(n, ()))) for n in wanted]


def _annotations(root: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """video id -> split, and video id -> captions by their sentence ids, of all json files."""
    splits: dict[str, str] = {}
    sentences: dict[str, dict[int, str]] = defaultdict(dict)
    for path in sorted([*root.glob("*.json"), *root.glob("*/*.json")]):
        content = _read(path)
        if content is None:
            continue
        for video in content["videos"]:
            splits[video["video_id"]] = video.get("split", "test")
        for number, entry in enumerate(content["sentences"]):
            caption = " ".join(str(entry["caption"]).split())
            sentences[entry["video_id"]][int(entry.get("sen_id", number))] = caption
    if not splits:
        raise UserError(
            f"There is no MSR-VTT json with 'videos' and 'sentences' in '{root}': put "
            "test_videodatainfo.json there."
        )
    return splits, {name: [by_id[i] for i in sorted(by_id)] for name, by_id in sentences.items()}


def _read(path: Path) -> dict[str, Any] | None:
    """The annotations in a json file; None for a json of something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' is not json that can be read: download it again.") from error
    if not isinstance(content, dict) or not {"videos", "sentences"} <= set(content):
        return None
    return content
