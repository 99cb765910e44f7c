"""Loading weights that others trained: from a folder or a hub id, safetensors only, checked, never
in silence.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from torch import Tensor

from lightning_artv.errors import CorruptWeightsError, MissingWeightsError

ModelT = TypeVar("ModelT")

_UNREADABLE = (
    *(pickle.UnpicklingError, BadZipFile, EOFError, OSError),
    *(RuntimeError, ValueError, KeyError, IndexError, AttributeError, TypeError),
)


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def without_bars() -> None:
    """Keep diffusers' and transformers' own bars, one a part, out of our commands' output."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def load_model(
    cls: type[ModelT],
    pretrained: str,
    subfolder: str,
    revision: str | None = None,
    sha256: str | None = None,
) -> ModelT:
    """Load `cls` (a diffusers or transformers model) from `pretrained/subfolder`, safetensors only.

    Args:
        sha256: expected digest of the weight file; needs `pretrained` to be a folder or a cached
            hub snapshot.

    Raises:
        MissingWeightsError: nothing there.
        CorruptWeightsError: a file that is damaged, or whose sha256 differs.
    """
    without_bars()
    folder = resolve(pretrained, subfolder, revision)
    files = sorted((folder / subfolder).glob("*.safetensors"))
    if not files:
        raise MissingWeightsError(
            f"No .safetensors file in {folder / subfolder}: download {pretrained} in safetensors "
            f"format."
        )
    if sha256 is not None:
        check_sha256(files, sha256)
    try:
        return cls.from_pretrained(folder, subfolder=subfolder, use_safetensors=True)  # type: ignore[attr-defined]
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CorruptWeightsError(
            f"{folder / subfolder} cannot be loaded as {cls.__name__} ({_first_line(error)}): "
            f"download it again."
        ) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict that `torch.save` wrote, without unpickling anything but tensors.

    Raises:
        CorruptWeightsError: damaged, no state dict, or one that holds other objects (code).
    """
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise CorruptWeightsError(
            f"{path} is damaged or holds more than tensors ({_first_line(error)}), and nothing in "
            f"it was run: download it again."
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise CorruptWeightsError(f"{path} holds no state dict: give a file of named tensors.")
    return tensors


def load_config(
    cls: Any, pretrained: str, subfolder: str, revision: str | None = None
) -> dict[str, Any]:
    """The `config.json` of a diffusers model as a dict, without its underscored keys."""
    folder = resolve(pretrained, subfolder, revision)
    config = cls.load_config(folder, subfolder=subfolder)
    return {k: v for k, v in config.items() if not k.startswith("_")}


def resolve(
    pretrained: str,
    subfolder: str,
    revision: str | None = None,
    endings: Sequence[str] = ("json", "safetensors", "txt"),
) -> Path:
    """The local folder of `pretrained`: itself, or the hub snapshot that holds `subfolder`.

    Args:
        subfolder: where the model is; `""` for a repository that is itself the model.
        endings: which files of a hub repository to fetch.
    """
    folder = Path(pretrained).expanduser()
    if folder.is_dir():
        if not (folder / subfolder).is_dir():
            raise MissingWeightsError(
                f"{folder} has no subfolder {subfolder}: give a folder written by diffusers' "
                f"save_pretrained."
            )
        return folder
    if pretrained.startswith((".", "/", "~")) or pretrained.count("/") != 1:
        raise MissingWeightsError(
            f"Weights folder {pretrained} does not exist: give a diffusers folder or a hub id "
            f"(owner/name)."
        )
    return _snapshot(pretrained, subfolder, revision, endings)


def _snapshot(hub_id: str, subfolder: str, revision: str | None, endings: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    part = f" ({subfolder})" if subfolder else ""
    patterns = [(Path(subfolder) / f"*.{ending}").as_posix() for ending in endings]
    try:
        folder = snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=patterns,
            ignore_patterns=["*.fp16.*", "*.non_ema.*"],
        )
        return Path(folder)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise MissingWeightsError(
            f"{hub_id}{part} is neither in the local cache nor could it be downloaded "
            f"({_first_line(error)}): download it where there is a network and give the folder."
        ) from error


def check_sha256(files: Sequence[Path], expected: str) -> None:
    """Raise `CorruptWeightsError` unless `files` is one file of that digest."""
    if len(files) != 1:
        raise CorruptWeightsError(
            f"A sha256 was given but {files[0].parent} holds {len(files)} weight files: keep the "
            f"one you mean."
        )
    found = sha256_of(files[0])
    if found != expected.lower():
        raise CorruptWeightsError(
            f"{files[0]} has sha256 {found}, expected {expected}: download it again."
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
