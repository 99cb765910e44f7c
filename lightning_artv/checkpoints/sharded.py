"""A checkpoint as a folder that many ranks write and any number of ranks reads.

    step1000.ckpt/
      shard-00001-model-00001-of-00001.safetensors ...   each rank's part of every tensor
      meta.ckpt                                          the rest, and the other files' sizes

Weights, averaged weights and the optimiser's moments are safetensors with their place in the whole
written in the header (torch.distributed.checkpoint's Hugging Face format); `meta.ckpt` is read with
`weights_only=True`. PyTorch's own format is not used: its `.metadata` is a pickle.
"""

from __future__ import annotations

import os
import pickle
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
    load,
    save,
)
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from lightning_artv.checkpoints.replacing import replace, save_file
from lightning_artv.checkpoints.sharding import empty_like
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import writing_to

META = "meta.ckpt"
SHARDED_KEYS = ("state_dict", "ema", "optimizer_states")
"""Parts of a checkpoint whose tensors are written by all ranks; the rest is rank 0's."""

_MARK = "tensor"

_DAMAGED = (
    SafetensorError,
    CheckpointException,
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    AttributeError,
    TypeError,
    AssertionError,
)

Example = Callable[[str], Tensor | None]
"""Name of a stored tensor -> a live tensor that is sharded as it shall be, or None for whole."""


def is_sharded(path: str | Path) -> bool:
    """Whether `path` is a folder that `write` wrote."""
    return (Path(path) / META).is_file()


def split(tree: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`tree` with every tensor (but scalars) moved to `tensors` under its path in the tree."""
    if isinstance(tree, Tensor) and tree.ndim > 0:
        tensors[name] = tree.detach()
        return {_MARK: name}
    if isinstance(tree, Mapping):
        return {key: split(value, f"{name}/{key}", tensors) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [split(value, f"{name}/{i}", tensors) for i, value in enumerate(tree)]
    return tree


def join(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `split`."""
    if isinstance(tree, dict):
        if set(tree) == {_MARK}:
            return tensors[tree[_MARK]]
        return {key: join(value, tensors) for key, value in tree.items()}
    if isinstance(tree, list):
        return [join(value, tensors) for value in tree]
    return tree


def write(checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Write `checkpoint` as the folder `path`; every rank calls this with its own shards.

    It is written beside `path`, flushed to disk, and renamed when every rank is done.

    Raises:
        UserError: the place cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    tensors: dict[str, Tensor] = {}
    tree = {
        key: split(value, key, tensors) if key in SHARDED_KEYS else value
        for key, value in checkpoint.items()
    }
    try:
        _first_rank(path, lambda: _begin(temporary))
        writer = HuggingFaceStorageWriter(str(temporary), save_distributed=True)
        with writing_to(path), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # one process
            save(tensors, storage_writer=writer, no_dist=not dist.is_initialized())
        _barrier()
        _first_rank(path, lambda: _finish(tree, temporary, path))
    finally:
        if _rank() == 0:
            shutil.rmtree(temporary, ignore_errors=True)


def _begin(temporary: Path) -> None:
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)


def _finish(tree: Mapping[str, Any], temporary: Path, path: Path) -> None:
    files = {file.name: file.stat().st_size for file in temporary.iterdir()}
    save_file({"files": files, "checkpoint": tree}, temporary / META)
    _flush(temporary)
    replace(temporary, path)


def _first_rank(path: Path, work: Callable[[], None]) -> None:
    """Rank 0 does `work`, the others wait for it; where the place refuses, all raise the same.

    Raises:
        UserError: `path` cannot be written.
    """
    refusal: list[str | None] = [None]
    if _rank() == 0:
        try:
            with writing_to(path):
                work()
        except UserError as error:
            refusal = [str(error)]
    if dist.is_initialized():
        dist.broadcast_object_list(refusal)
    if refusal[0] is not None:
        raise UserError(refusal[0])


def read(
    path: str | Path, example: Example | None = None, optimizer: bool = True
) -> dict[str, Any]:
    """The checkpoint in folder `path`; each rank reads only what it needs.

    Args:
        path: a folder that any number of ranks wrote.
        example: how each tensor shall be sharded; None for whole tensors on the CPU.
        optimizer: False leaves the optimiser's state out.

    Raises:
        UserError: not such a folder, or a damaged one.
    """
    path = Path(path)
    tree = read_meta(path)
    if not optimizer:
        tree.pop("optimizer_states", None)
    names = _names({key: tree.get(key) for key in SHARDED_KEYS})
    with _damage_named(path):
        tensors = _read_tensors(path, names, example)
    return {k: join(v, tensors) if k in SHARDED_KEYS else v for k, v in tree.items()}


def read_meta(path: str | Path) -> dict[str, Any]:
    """The checkpoint in folder `path`, with a mark in the place of each sharded tensor.

    Raises:
        UserError: not such a folder, or an incomplete one.
    """
    path = Path(path)
    if not is_sharded(path):
        raise UserError(f"'{path}' is no checkpoint: give a folder that `lightning fit` wrote.")
    with _damage_named(path):
        meta = torch.load(path / META, map_location="cpu", weights_only=True)
        files, tree = meta["files"], meta["checkpoint"]
        assert isinstance(tree, dict)
    _check_files(path, files)
    return tree


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """A `UserError` for whatever the libraries raise where bytes are not what they should be."""
    try:
        yield
    except _DAMAGED as error:
        raise UserError(
            f"'{path}' is damaged or incomplete ({type(error).__name__}): take another checkpoint."
        ) from error


def _check_files(path: Path, files: Mapping[str, int]) -> None:
    """A file that is not there would leave its part of each tensor as it happens to be."""
    for name, size in files.items():
        if not (path / name).is_file() or (path / name).stat().st_size != size:
            raise UserError(
                f"'{path}' is damaged: '{name}' is missing or incomplete; take another checkpoint."
            )


def _read_tensors(path: Path, names: list[str], example: Example | None) -> dict[str, Tensor]:
    reader = HuggingFaceStorageReader(str(path))
    stored = reader.read_metadata().state_dict_metadata
    tensors: dict[str, Tensor] = {}
    for name in names:
        entry = stored[name]
        assert isinstance(entry, TensorStorageMetadata)
        live = example(name) if example is not None else None
        tensors[name] = empty_like(entry.size, entry.properties.dtype, live)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as asked for
        load(tensors, storage_reader=reader, no_dist=True)
    return tensors


def _names(tree: Any) -> list[str]:
    """The names of tensors that `split` left in a tree."""
    if isinstance(tree, dict):
        if set(tree) == {_MARK}:
            return [tree[_MARK]]
        return [name for value in tree.values() for name in _names(value)]
    if isinstance(tree, list):
        return [name for value in tree for name in _names(value)]
    return []


def _flush(folder: Path) -> None:
    for file in (*folder.iterdir(), folder):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _barrier() -> None:
    if dist.is_initialized():
        dist.barrier()
