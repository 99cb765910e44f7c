"""What made a video: a record beside it, so that no video is taken for another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_artv.errors import UserError
from lightning_artv.files import parse_json, to_json
from lightning_artv.media.writing import record_path
from lightning_artv.networks.pretrained import sha256_of
from lightning_artv.systems.base import VideoModel

_LONGEST = 40
"""Characters of a value that is told; of a longer one, only that it differs."""

_MOST = 6
"""Differences that are told."""


def difference(video: Path, record: Mapping[str, Any]) -> str | None:
    """In words, in what a video that is there was made otherwise than `record` says; or None."""
    try:
        there = parse_json(record_path(video).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"nothing says what made it, as {record_path(video).name} is not there"
    except (OSError, ValueError):
        there = None
    if not isinstance(there, dict):
        return f"{record_path(video).name} cannot be read"
    was, asked = dict(_flat(there)), dict(_flat(json.loads(to_json(record))))
    changed = [key for key in {**was, **asked} if was.get(key) != asked.get(key)]
    told = [_change(key, was.get(key), asked.get(key)) for key in changed[:_MOST]]
    more = [f"and {len(changed) - _MOST} more"] if len(changed) > _MOST else []
    return "; ".join(told + more) or None


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of tensors and their names."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def system_digest(system: VideoModel) -> str:
    """sha256 of all weights, the frozen ones too, and of how the system was configured."""
    weights = tensors_digest(system.state_dict())
    return hashlib.sha256(f"{weights}\n{system.origin.description}".encode()).hexdigest()


def path_digest(path: Path, what: str = "file") -> str:
    """sha256 of a file; of a folder, of its files' names and digests.

    Args:
        path: path of either.
        what: the noun for it in the message.

    Raises:
        UserError: nothing there.
    """
    if path.is_file():
        return sha256_of(path)
    files = sorted(found for found in path.rglob("*") if found.is_file())
    if not files:
        raise UserError(f"There is no {what} '{path}'.")
    lines = [f"{found.relative_to(path).as_posix()} {sha256_of(found)}\n" for found in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of everything in nested mappings and lists."""
    if isinstance(value, Mapping) and value:
        inner: Sequence[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list) and value:
        inner = list(enumerate(value))
    else:
        yield name, value
        return
    for key, item in inner:
        yield from _flat(item, f"{name}.{key}" if name else str(key))


def _change(key: str, was: Any, asked: Any) -> str:
    old, new = (json.dumps(value, ensure_ascii=False) for value in (was, asked))
    if max(len(old), len(new)) > _LONGEST:
        return f"another {key}"
    return f"{key} was {old}, not {new}"
