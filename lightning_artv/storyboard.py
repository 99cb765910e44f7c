"""Storyboards and prompt files: what a video shows, read and checked strictly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_artv.errors import UserError, check_frames


@dataclass(frozen=True)
class Shot:
    """`frames` frames of one video under one prompt; the first shot counts the first frame too.

    Raises:
        UserError: no number of frames that a video may have.
    """

    prompt: str
    frames: int

    def __post_init__(self) -> None:
        check_frames(self.frames)


def read_storyboard(path: str | Path) -> tuple[Shot, ...]:
    """The shots of a YAML file: a list of `{prompt: ..., frames: ...}`, or `segments:` with such a
    list.

    Raises:
        UserError: no such file, no YAML, or anything but that form; it names the segment.
    """
    try:
        content = yaml.safe_load(_read(path, "storyboard"))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"The storyboard '{path}' is not YAML: {reason}.") from error
    if isinstance(content, dict):
        if set(content) != {"segments"}:
            raise UserError(
                f"The storyboard '{path}' must be a list, or have the one key 'segments', "
                f"got the keys {_names(content)}."
            )
        content = content["segments"]
    if not isinstance(content, list) or not content:
        raise UserError(f"The storyboard '{path}' must hold a list of segments with at least one.")
    return tuple(_shot(entry, f"'{path}', segment {i + 1}") for i, entry in enumerate(content))


def read_prompts(path: str | Path) -> tuple[str, ...]:
    """The prompts of a text file, one a line; empty lines are skipped.

    Raises:
        UserError: no such file, or no prompt in it.
    """
    lines = [line.strip() for line in _read(path, "prompts file").splitlines()]
    prompts = tuple(line for line in lines if line)
    if not prompts:
        raise UserError(f"The prompts file '{path}' is empty: write one prompt a line.")
    return prompts


def _shot(entry: Any, where: str) -> Shot:
    if not isinstance(entry, dict) or set(entry) != {"prompt", "frames"}:
        came = _names(entry) if isinstance(entry, dict) else repr(entry)
        raise UserError(f"{where} must have exactly the keys 'prompt' and 'frames', got {came}.")
    prompt, frames = entry["prompt"], entry["frames"]
    if not isinstance(prompt, str):
        raise UserError(f"{where}: 'prompt' must be text, got {prompt!r}.")
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise UserError(f"{where}: 'frames' must be a whole number above 0, got {frames!r}.")
    return Shot(prompt, frames)


def _read(path: str | Path, what: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"There is no {what} '{path}'.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"The {what} '{path}' is not UTF-8 text.") from error


def _names(mapping: dict[Any, Any]) -> str:
    return ", ".join(repr(key) for key in mapping) or "none"
