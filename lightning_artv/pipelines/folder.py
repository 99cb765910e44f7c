"""An exported folder: what is checked before anything of it is loaded, and its checksums."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import safe_open

from lightning_artv.checkpoints.sharded import is_sharded
from lightning_artv.errors import CorruptWeightsError, MissingWeightsError
from lightning_artv.media.atomic import write_atomically
from lightning_artv.networks.pretrained import resolve, sha256_of
from lightning_artv.networks.weight_files import (
    DIFFUSERS_STEM,
    TRANSFORMERS_STEM,
    find,
    variants,
)

INDEX = "model_index.json"
CARD = "README.md"
CHECKSUMS = "sha256.txt"
SHARED_PARTS = "lightning_artv.pipelines.artv.components"
"""Where folders say that the small models' classes are (`parts.py`)."""

_AGAIN = "export or download it again."


@dataclass(frozen=True)
class Layout:
    """What the folders of one pipeline's class say of themselves.

    Attributes:
        classes: names that such a folder may give its class; the first one is today's.
        parts: module of the classes that are neither of diffusers nor of transformers.
        earlier: where that module was in earlier versions.
    """

    classes: tuple[str, ...]
    parts: str
    earlier: tuple[str, ...] = ()

    @property
    def libraries(self) -> tuple[str, ...]:
        """Whose classes a folder may name."""
        return tuple(
            dict.fromkeys(("diffusers", "transformers", self.parts, SHARED_PARTS, *self.earlier))
        )

    def today(self, index: Mapping[str, Any]) -> dict[str, Any]:
        """An index whose parts are named where they are now."""
        return {
            name: [self.parts, *value[1:]]
            if isinstance(value, list) and value and value[0] in self.earlier
            else value
            for name, value in index.items()
        }


def write_checksums(folder: Path) -> None:
    """Write `sha256.txt` over all files but the card, in the form of `sha256sum`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (CHECKSUMS, CARD))
    lines = [f"{sha256_of(p)}  {p.relative_to(folder).as_posix()}\n" for p in files]
    write_atomically(folder / CHECKSUMS, "".join(lines).encode())


def local_folder(name: str | Path, layout: Layout, revision: str | None = None) -> Path:
    """`name` itself where it is a folder, else the snapshot of that hub id; checked.

    diffusers' own download refuses parts of other packages, hence ours.

    Raises:
        MissingWeightsError: no such folder or hub id, or a part is not there.
        CorruptWeightsError: not what an export writes, or a file with another sha256.
    """
    if Path(name).is_file() or str(name).endswith(".ckpt") or is_sharded(name):
        raise MissingWeightsError(
            f"{name} is no folder of a pipeline: make one of a checkpoint with `lightning export "
            f"--checkpoint {name} --output FOLDER`, and give that."
        )
    folder = resolve(str(name), "", revision)
    check(folder, layout)
    return folder


def check(folder: Path, layout: Layout) -> None:
    """Check a folder before anything in it is loaded; no code is ever taken from one.

    Raises:
        MissingWeightsError: a part is not there.
        CorruptWeightsError: not what an export writes, or a file with another sha256.
    """
    index = read_index(folder)
    if index.get("_class_name") not in layout.classes:
        raise CorruptWeightsError(
            f"{folder / INDEX} describes a {index.get('_class_name')}, not an "
            f"{layout.classes[0]}: give a folder that `lightning export` wrote."
        )
    for name, value in index.items():
        # a part is a pair of library and class; other lists are numbers
        if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
            continue
        if value[0] not in layout.libraries:
            raise CorruptWeightsError(
                f"{folder / INDEX} asks for a part of {value[0]}, but only parts of "
                f"{', '.join(layout.libraries)} are loaded."
            )
        if not (folder / name).is_dir():
            raise MissingWeightsError(f"{folder} has no subfolder {name}: {_AGAIN}")
    _check_files(folder)


def variant_of(folder: Path, asked: str | None) -> str | None:
    """The variant of weights to load: the one that is asked for, the plain ones, or the only one.

    Raises:
        MissingWeightsError: no part has it, or the weights of a part are missing.
    """
    parts = [
        (part, stem, variants(part, stem))
        for part in sorted(path for path in folder.iterdir() if path.is_dir())
        for stem in (DIFFUSERS_STEM, TRANSFORMERS_STEM)
        if variants(part, stem)
    ]
    for part, stem, there in parts:
        if asked is None and None not in there:
            return find(part, stem).variant  # of several, says which are there
    if asked is not None and parts and not any(asked in there for _, _, there in parts):
        find(parts[0][0], parts[0][1], asked)
    return asked


def check_tensors(folder: Path, part: str, expected: Collection[str]) -> None:
    """Check that the files of a part hold all `expected` tensors; diffusers only warns of one less.

    Raises:
        CorruptWeightsError: naming the first that is missing.
    """
    stored: set[str] = set()
    for path in (folder / part).glob("*.safetensors"):
        with safe_open(path, framework="pt") as opened:
            stored.update(opened.keys())
    missing = sorted(set(expected) - stored)
    if missing:
        raise CorruptWeightsError(f"{folder / part} lacks the tensor {missing[0]}: {_AGAIN}")


def read_index(folder: Path) -> dict[str, Any]:
    """The content of `model_index.json`.

    Raises:
        MissingWeightsError: there is none.
        CorruptWeightsError: it is damaged.
    """
    path = folder / INDEX
    if not path.is_file():
        raise MissingWeightsError(
            f"{folder} has no {INDEX}: give a folder that `lightning export` wrote."
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptWeightsError(f"{path} is no JSON: {_AGAIN}") from error
    if not isinstance(index, dict):
        raise CorruptWeightsError(f"{path} describes no pipeline: {_AGAIN}")
    return index


def _check_files(folder: Path) -> None:
    """Every file that `sha256.txt` lists is there and unchanged, and none is Python."""
    python = next(folder.rglob("*.py"), None)
    if python is not None:
        raise CorruptWeightsError(
            f"{python} is Python code, of which an exported folder has none: remove it."
        )
    for name, expected in checksums(folder).items():
        path = folder / name
        if not path.is_file():
            raise MissingWeightsError(f"{folder} has no file {name}: {_AGAIN}")
        if sha256_of(path) != expected:
            raise CorruptWeightsError(
                f"{path} has not the sha256 that {CHECKSUMS} says: {_AGAIN[:-1]}, or remove "
                f"{CHECKSUMS} if you changed it yourself."
            )


def checksums(folder: Path) -> dict[str, str]:
    """File -> sha256 as `sha256.txt` says; empty without it.

    Raises:
        CorruptWeightsError: lines that are none of `sha256sum`.
    """
    path = folder / CHECKSUMS
    if not path.is_file():
        return {}
    sums = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or ".." in PurePosixPath(name).parts:
            raise CorruptWeightsError(f"{path} is damaged: {_AGAIN}")
        sums[name] = digest
    return sums
