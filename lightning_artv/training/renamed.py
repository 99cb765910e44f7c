"""Configuration files of version 0.1 under today's paths: the old ones are read for one release."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TRAIN = "configs/artv/train.yaml"
_HARDWARE = ("ddp", "fsdp", "low_memory", "slurm")
_FOLDERS = {"configs/ablation/": "configs/artv/ablation/"}
_FILES = {
    "configs/artv.yaml": (_TRAIN,),
    "configs/demo.yaml": ("configs/artv/demo.yaml",),
    "configs/shapes.yaml": ("configs/artv/worlds.yaml",),
    "configs/experiment/clips.yaml": ("configs/artv/clips.yaml",),
    **{f"configs/experiment/{n}.yaml": (_TRAIN, f"configs/hardware/{n}.yaml") for n in _HARDWARE},
}


@dataclass(frozen=True)
class Renamed:
    """What an old path stands for.

    Attributes:
        paths: files of today, which merge left to right.
        settings: what the old file set beside them.
    """

    paths: tuple[Path, ...]
    settings: dict[str, Any]


def renamed(path: Path) -> Renamed | None:
    """Today's files of an old path that does not exist, said once on stderr; None for any other."""
    if path.exists():
        return None
    typed, full = path.as_posix(), path.absolute().resolve().as_posix()
    for old, new in {**_FILES, **_in_folders(full)}.items():
        if full.endswith(f"/{old}"):
            root = typed.removesuffix(old) if typed.endswith(old) else full.removesuffix(old)
            paths = tuple(Path(f"{root}{name}") for name in new)
            if all(map(Path.is_file, paths)):
                settings = _folder_of(path.stem) if len(paths) > 1 else {}
                _say(typed, paths, settings.get("trainer", {}).get("default_root_dir"))
                return Renamed(paths, settings)
    return None


def today(path: Path) -> Path:
    """Today's path of one file; a path that was not renamed, or to more than one, as it is."""
    found = renamed(path)
    return path if found is None or len(found.paths) > 1 else found.paths[0]


def _in_folders(full: str) -> dict[str, tuple[str, ...]]:
    name = full.rpartition("/")[2]
    return {f"{old}{name}": (f"{new}{name}",) for old, new in _FOLDERS.items()}


def _folder_of(hardware: str) -> dict[str, Any]:
    """Old files of hardware had a run's folder each, where an interrupted run goes on."""
    return {"trainer": {"default_root_dir": f"outputs/artv-{hardware.replace('_', '-')}"}}


@functools.cache
def _say(typed: str, paths: tuple[Path, ...], folder: str | None) -> None:
    now = " --config ".join(map(str, paths))
    now += f" --trainer.default_root_dir {folder}" if folder else ""
    print(f"note: {typed} is now {now}; the next release refuses the old path.", file=sys.stderr)
