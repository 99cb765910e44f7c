"""What a folder of generated videos was made with, so that no other run goes on in it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lightning_artv.errors import UserError
from lightning_artv.files import to_json as to_json
from lightning_artv.media.atomic import write_atomically

MANIFEST = "manifest.json"
PACKAGES = ("lightning-artv", "torch", "diffusers", "transformers", "torchmetrics", "av", "pillow")


def open_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, or check that the one there is the same.

    Raises:
        UserError: the folder holds another manifest, or something without one.
    """
    there = read_manifest(folder)
    if there is None:
        if folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir()):
            raise UserError(
                f"'{folder}' holds files but no {MANIFEST}: name a new folder for the videos."
            )
        write_atomically(folder / MANIFEST, to_json(manifest))
        return
    fields = differences(there, manifest)
    if fields:
        raise UserError(
            f"'{folder}' holds videos of another run (other {', '.join(fields)}): name another "
            "folder, or remove it."
        )


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest in a folder, or None.

    Raises:
        UserError: there is one that is no json.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' is damaged: remove the folder.") from error
    if not isinstance(content, dict):
        raise UserError(f"'{path}' is no manifest of generated videos: name another folder.")
    return content


def differences(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the fields in which two nested mappings differ, in order."""
    names = []
    for key in dict.fromkeys([*one, *other]):
        a, b = one.get(key), other.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            names += differences(a, b, f"{prefix}{key}.")
        elif a != b or (key in one) != (key in other):
            names.append(f"{prefix}{key}")
    return names


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that move numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
