"""What made an output: the step, its options, the sha256 of its input. Same making, same bytes, so
an output that says the same as is wanted is not made again, and one that says otherwise is not
silently mixed with or replaced by another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.tables import made_by
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import write_atomically
from lightning_artv.numbers import whole_number

MARK = "made_by.json"
"""In a folder that is written over time."""


def is_done(out: Path, wanted: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether a table exists that was made by exactly this.

    Raises:
        UserError: one exists that was made by something else, which is not to be overwritten.
    """
    if not out.exists():
        return False
    return _is_same(out, made_by(out), wanted, overwrite, ("made", "make it"))


def is_claimed(folder: Path, wanted: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether an earlier run began to write a folder of exactly this, so that it can go on.

    Raises:
        UserError: the folder is of another making, which is not to be overwritten.
    """
    mark = folder / MARK
    if not mark.is_file():
        return False
    try:
        held = json.loads(mark.read_bytes())
    except ValueError:
        held = {}
    return _is_same(folder, held, wanted, overwrite, ("begun", "begin"))


def _is_same(
    out: Path, held: Any, wanted: Mapping[str, Any], overwrite: bool, words: tuple[str, str]
) -> bool:
    if held != as_json(wanted) and not overwrite:
        raise UserError(
            f"{out} was {words[0]} with another {differences(held, wanted)}; add --overwrite to "
            f"{words[1]} again, or choose another name."
        )
    return bool(held == as_json(wanted))


def claim(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Mark a folder as begun."""
    write_atomically(folder / MARK, json.dumps(wanted, sort_keys=True).encode())


def sweep(folder: Path) -> None:
    """Delete unfinished files in a folder whose writers are dead (see `atomic_path`)."""
    for path in folder.glob(".*.part"):
        process = whole_number(path.name.split(".")[-2])
        if process is not None and not _is_alive(process):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only asks
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def as_json(wanted: Mapping[str, Any]) -> Any:
    """As it comes back from a file (tuples become lists)."""
    return json.loads(json.dumps(wanted))


def differences(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """In words: which options, or which input, differ."""
    if held.get("step") != wanted.get("step"):
        return f"step ({held.get('step')}, not {wanted.get('step')})"
    old, new = held.get("options", {}), as_json(wanted.get("options", {}))
    changed = [
        f"{name} ({old.get(name)}, not {new.get(name)})"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    return ", ".join(changed) if changed else "input"
