"""Inputs that a command line names, looked for before anything heavy is imported.

A mistyped path is so answered at once. What a file holds is checked where it is read.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_artv.errors import DataError, MissingWeightsError, UserError

SHARDS = "folder or tar of shards"

_PATTERN = set("{}*?[]:,")
_NO_PATH = (None, "", "null", "None", "last", "best", "hpc")


def check_given(
    options: argparse.Namespace, kinds: Mapping[str, str], error: type[UserError] = UserError
) -> None:
    """Check that each file or folder that the options name exists; patterns and addresses are left
    to their readers.

    Args:
        kinds: option -> what a message calls it, with advice after a colon if there is any.
        error: class of what is raised.

    Raises:
        UserError: naming the first that does not exist.
    """
    for name, kind in kinds.items():
        for path in _listed(getattr(options, name, None)):
            if not (set(str(path)) & _PATTERN or _exists(path)):
                raise error(_missing(path, kind))


def check_training(arguments: Sequence[str]) -> None:
    """Check the checkpoint and the data that the arguments of Lightning's subcommands name.

    Raises:
        UserError: a checkpoint does not exist.
        DataError: shards do not exist.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--ckpt_path", "--data.train", "--data.val"):
        parser.add_argument(name)
    try:
        given = vars(parser.parse_known_args(list(arguments))[0])
    except argparse.ArgumentError:
        return  # an option without a value: the command's own parser says so
    named = {name: path for name, path in given.items() if path not in _NO_PATH}
    options = argparse.Namespace(**named)
    check_given(options, {"ckpt_path": "checkpoint"})
    check_given(options, {"data.train": SHARDS, "data.val": SHARDS}, DataError)


def check_weights_given(name: str | None, what: str | None = None) -> None:
    """Check the folder or file of a model; a hub id (`owner/name`) is not looked up.

    Args:
        name: name of the folder or file, or a hub id.
        what: the noun for it in the message, such as "text-to-image pipeline".

    Raises:
        MissingWeightsError: there is none, and it is no hub id.
    """
    if name is not None and not _exists(name) and not is_hub_id(name):
        absent = f"There is no {what} '{name}'" if what else f"Weights folder {name} does not exist"
        raise MissingWeightsError(f"{absent}: give a diffusers folder or a hub id (owner/name).")


def is_hub_id(name: str) -> bool:
    """`owner/name`, unless it is a path or there is such a folder."""
    path_like = name.startswith((".", "/", "~")) or name.count("/") != 1
    return not path_like and not _exists(name)


def _listed(value: Any) -> Sequence[str | Path]:
    if value is None:
        return ()
    return value if isinstance(value, (list, tuple)) else (value,)


def _exists(path: str | Path) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, no such user
        return False


def _missing(path: str | Path, kind: str) -> str:
    what, _, advice = kind.partition(": ")
    closest = _closest(Path(path).expanduser())
    if closest is not None:
        advice = f"did you mean '{closest}'?"
    return f"There is no {what} '{path}'{f': {advice}' if advice else ''}".rstrip(".?") + (
        "?" if closest is not None else "."
    )


def _closest(path: Path) -> Path | None:
    """A file or folder beside where `path` would be, with nearly its name."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return None
    found = difflib.get_close_matches(path.name, names, n=1, cutoff=0.8)
    return path.with_name(found[0]) if found else None
