"""State dicts that others' scripts wrote: read without running anything in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor

from lightning_artv.errors import CorruptWeightsError, MissingWeightsError
from lightning_artv.networks.weight_files import check_sha256, first_line

_UNREADABLE = (
    *(pickle.UnpicklingError, BadZipFile, EOFError, OSError),
    *(RuntimeError, ValueError, KeyError, IndexError, AttributeError, TypeError),
)
_NESTED = ("state_dict", "model_state_dict", "model", "network", "net")
_WRAPPERS = ("module.", "_orig_mod.", "model.", "network.", "net.")


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict that `torch.save` wrote, without unpickling anything but tensors.

    It may lie under `state_dict` or the like, beside an epoch and an optimizer, and its names may
    begin with a wrapper's (`module.`).

    Raises:
        CorruptWeightsError: damaged, no state dict, or one that holds other objects (code).
    """
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise CorruptWeightsError(
            f"{path} is damaged or holds more than tensors ({first_line(error)}), and nothing in "
            f"it was run: download it again."
        ) from error
    named = _state_dict(tensors)
    if named is None:
        raise CorruptWeightsError(f"{path} holds no state dict: give a file of named tensors.")
    return without_wrapper(named)


def load_given(weights: str, sha256: str | None, missing: str) -> tuple[Path, dict[str, Tensor]]:
    """The file that an option names, and what `load_tensors` reads of it.

    Args:
        weights: path of the file.
        sha256: its expected digest, if there is one.
        missing: sentence on `{path}` where it is not there.

    Raises:
        MissingWeightsError: no such file.
        CorruptWeightsError: damaged, or another digest.
    """
    path = Path(weights).expanduser()
    if not path.is_file():
        raise MissingWeightsError(missing.format(path=path))
    if sha256 is not None:
        check_sha256([path], sha256)
    return path, load_tensors(path)


def _state_dict(content: Any) -> dict[str, Tensor] | None:
    """Named tensors: the content itself, or what a training script put them under."""
    if not isinstance(content, dict):
        return None
    if all(isinstance(value, Tensor) for value in content.values()):
        return content
    return next((found for key in _NESTED if (found := _state_dict(content.get(key)))), None)


def without_wrapper(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names of the bare network, without DataParallel's `module.` and the like.

    A wrapper is a name of `_WRAPPERS` that all tensors begin with.
    """
    for prefix in _WRAPPERS:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return without_wrapper({k.removeprefix(prefix): v for k, v in tensors.items()})
    return tensors
