"""Storyboards and prompt files: what a video shows, read and checked strictly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_artv.errors import UserError, check_frames
from lightning_artv.files import is_blank, read_lines, read_yaml


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
    content = read_yaml(path, "storyboard")
    if isinstance(content, dict):
        if set(content) != {"segments"}:
            raise UserError(
                f"The storyboard '{path}' must be a list, or have the one key 'segments', "
                f"got the keys {_names(content)}."
            )
        content = content["segments"]
    if not isinstance(content, list) or not content:
        raise UserError(f"The storyboard '{path}' must hold a list of segments with at least one.")
    shots = tuple(_shot(entry, f"'{path}', segment {i + 1}") for i, entry in enumerate(content))
    check_frames(sum(shot.frames for shot in shots))
    return shots


def read_prompts(path: str | Path) -> tuple[str, ...]:
    """The prompts of a text file, one per line, as `read_lines` reads them.

    Raises:
        UserError: no such file, no text, or no prompt in it.
    """
    prompts = tuple(read_lines(path, "prompts file"))
    if not prompts:
        raise UserError(f"The prompts file '{path}' is empty: write one prompt per line.")
    return prompts


def _shot(entry: Any, where: str) -> Shot:
    if not isinstance(entry, dict) or set(entry) != {"prompt", "frames"}:
        came = _names(entry) if isinstance(entry, dict) else repr(entry)
        raise UserError(f"{where} must have exactly the keys 'prompt' and 'frames', got {came}.")
    prompt, frames = entry["prompt"], entry["frames"]
    if not isinstance(prompt, str):
        raise UserError(f"{where}: 'prompt' must be text, got {prompt!r}.")
    if is_blank(prompt):
        raise UserError(f"{where}: 'prompt' is empty: say what the segment shows.")
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise UserError(f"{where}: 'frames' must be a whole number above 0, got {frames!r}.")
    try:
        return Shot(prompt, frames)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _names(mapping: dict[Any, Any]) -> str:
    return ", ".join(repr(key) for key in mapping) or "none"
