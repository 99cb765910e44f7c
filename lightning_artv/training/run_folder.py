"""The checkpoints in a run's folder: which is the newest, and which one a run goes on from."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_artv.checkpoints.file import read_checkpoint
from lightning_artv.checkpoints.sharded import is_sharded, read_meta
from lightning_artv.errors import UserError

LAST = "last.ckpt"
_LAST = re.compile(r"last(-v\d+)?\.ckpt", re.ASCII)
"""`last-v1.ckpt` and so on are older versions' second runs in a folder."""


@dataclass(frozen=True)
class Saved:
    """A whole checkpoint.

    Attributes:
        path: file or folder.
        step: optimiser steps done.
        resumable: whether it has more than weights.
    """

    path: Path
    step: int
    resumable: bool

    def __str__(self) -> str:
        return f"{self.path}, of step {self.step}"


def checkpoints(folder: Path) -> list[Path]:
    """What is named like a checkpoint in `folder`, which need not exist."""
    return sorted(path for path in folder.glob("*.ckpt") if not path.name.startswith("."))


def newest(paths: Iterable[Path]) -> Saved | None:
    """The whole checkpoint of the highest step, the one written last of several."""
    saved = [found for path in paths if (found := _look(path)) is not None]
    return max(saved, key=_rank, default=None)


def last(folders: Iterable[Path]) -> Path | None:
    """Where `--ckpt_path last` goes on: the folders' `last.ckpt`, or else their newest checkpoint.

    Returns:
        None where there is no checkpoint at all.

    Raises:
        UserError: none that is there is whole.
    """
    paths = [path for folder in folders for path in checkpoints(folder)]
    if not paths:
        return None
    named = [path for path in paths if _LAST.fullmatch(path.name)]
    found = newest(named) or newest(path for path in paths if _resumable(path))
    if found is None:
        raise UserError(f"No checkpoint in {paths[0].parent} is whole: remove them to begin anew.")
    if found.path not in named:
        why = "is damaged" if named else "is not there"
        warnings.warn(f"{paths[0].parent / LAST} {why}: going on from {found}.", stacklevel=2)
    return found.path


def best(folders: Iterable[Path]) -> Path:
    """Where `--ckpt_path best` begins: with the best checkpoint that the newest one knows of.

    Raises:
        UserError: it knows of none.
    """
    folders = list(folders)
    newest_one = last(folders)
    states = {} if newest_one is None else _read(newest_one).get("callbacks", {})
    for state in states.values():
        path = Path(state.get("best_model_path") or "")
        places = [*(folder / path.name for folder in folders), path]  # a run may have moved
        if state.get("monitor") and (found := next((p for p in places if p.exists()), None)):
            return found
    where = folders[0] if folders else "this run"
    raise UserError(
        f"No checkpoint in {where} is known as the best: give ModelCheckpoint something to monitor "
        "(monitor: val/loss), or give --ckpt_path a file."
    )


def refuse_used(folders: Iterable[Path]) -> None:
    """A new run may not mix its checkpoints with those of another.

    Raises:
        UserError: a folder that holds checkpoints.
    """
    for folder in folders:
        if paths := checkpoints(folder):
            found = newest(paths)
            what = f", the newest {found}" if found else ""
            raise UserError(
                f"{folder} holds the checkpoints of another run{what}: add `--ckpt_path last` to "
                "go on from it, or name another folder (--trainer.default_root_dir)."
            )


@contextmanager
def newest_named(*folders: Path) -> Iterator[None]:
    """A run writes there; a `UserError` then says which is the newest whole checkpoint."""
    try:
        yield
    except UserError as error:
        found = newest(path for folder in folders for path in checkpoints(folder))
        if found is None:
            raise
        text = str(error).rstrip(".")
        raise type(error)(f"{text}; the newest whole checkpoint is {found}.") from error


def _rank(saved: Saved) -> tuple[int, int, bool]:
    return saved.step, saved.path.stat().st_mtime_ns, saved.path.name == LAST


def _resumable(path: Path) -> bool:
    found = _look(path)
    return found is not None and found.resumable


def _look(path: Path) -> Saved | None:
    """None for a damaged one, and for what is no run's checkpoint."""
    try:
        content = _read(path)
    except UserError:
        return None
    step = content.get("global_step")
    return Saved(path, step, "optimizer_states" in content) if isinstance(step, int) else None


def _read(path: Path) -> dict[str, Any]:
    return read_meta(path) if is_sharded(path) else read_checkpoint(path)
