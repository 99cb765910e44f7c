"""The system of anything that holds a trained model: a checkpoint or an exported folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

import torch

from lightning_artv import pipelines
from lightning_artv.checkpoints import file
from lightning_artv.checkpoints.file import Weights, read_checkpoint, take_weights, weights_for
from lightning_artv.checkpoints.sharded import is_sharded
from lightning_artv.errors import CorruptWeightsError, UserError
from lightning_artv.networks.pretrained import without_bars
from lightning_artv.pipelines.folder import INDEX, read_index
from lightning_artv.systems.base import Trainable, VideoModel
from lightning_artv.systems.teaching import Teacher

if TYPE_CHECKING:  # diffusers takes long to import, and a checkpoint may need nothing of it
    from lightning_artv.pipelines.stored import StoredPipeline


def load_system(
    path: str | Path,
    weights: Weights = "ema",
    device: str | torch.device = "cpu",
    trusted_packages: Sequence[str] = (),
) -> VideoModel:
    """The system of a checkpoint or of an exported folder, in evaluation mode, ready to generate.

    Args:
        path: a checkpoint that `lightning fit` wrote, or a folder that `lightning export` wrote.
        weights: the averaged weights (`ema`, what the paper generates with) or the `raw` ones; a
            folder holds one of them.
        device: where the system goes.
        trusted_packages: see `load_part`.

    Raises:
        UserError: nothing that can be used, or no such weights.
        MissingWeightsError: weights that a checkpoint names, or a part of a folder, are not there.
        CorruptWeightsError: a damaged folder.
    """
    if not is_exported(path):
        return file.load_system(path, weights, device, trusted_packages)
    return load_pipeline(path, weights).to_system().to(device).eval()


class Trained(Teacher):
    """A teacher that is there: a checkpoint or an exported folder.

    Args:
        path: path of it.
        weights: the averaged weights (`ema`) or the `raw` ones.
    """

    def __init__(self, path: str, weights: Weights = "ema") -> None:
        self.path, self.weights = path, weights

    def load(self) -> VideoModel:
        """See `load_system`."""
        return load_system(self.path, self.weights)


def load_pipeline(path: str | Path, weights: Weights = "ema") -> StoredPipeline:
    """The diffusers pipeline of an exported folder, of the class that the folder names.

    Raises:
        UserError: other weights are asked for than those that were exported.
        MissingWeightsError: a part is not there.
        CorruptWeightsError: a damaged folder, or one that no system here exports.
    """
    if weights != "ema":
        raise UserError(f"{path} is an exported folder: --weights was chosen when it was made.")
    without_bars()
    return pipeline_named(read_index(Path(path)).get("_class_name"), path).from_pretrained(path)


def pipeline_named(name: object, folder: str | Path) -> type[StoredPipeline]:
    """The pipeline of this name that a system has in its folder of `lightning_artv.pipelines`.

    Raises:
        CorruptWeightsError: there is none.
    """
    from lightning_artv.pipelines.stored import StoredPipeline

    for found in iter_modules(pipelines.__path__, f"{pipelines.__name__}."):
        kind = getattr(import_module(found.name), str(name), None) if found.ispkg else None
        if isinstance(kind, type) and issubclass(kind, StoredPipeline):
            return kind
    raise CorruptWeightsError(
        f"{Path(folder) / INDEX} describes a {name}, which is the pipeline of no system here: give "
        "a folder that `lightning export` wrote."
    )


def is_exported(path: str | Path) -> bool:
    """Whether this is to be read as an exported folder: one that is and holds no checkpoint."""
    folder = Path(path)
    if (folder / INDEX).is_file() or not folder.is_dir():
        return folder.is_dir()
    return not is_sharded(folder) and not any(folder.rglob("*.ckpt"))


def start_from(system: Trainable, path: str | Path) -> str:
    """Start a training of `system` with the weights of a checkpoint or of an exported folder, as
    far as it has them.

    Returns:
        a sentence that says how much was taken and what was not.

    Raises:
        UserError: nothing that can be used, see `take_weights`.
    """
    if not is_exported(path):
        return take_weights(system, weights_for(system, path), path)
    frozen = {name for name, p in system.named_parameters() if not p.requires_grad}
    loaded = load_pipeline(path).to_system()
    stored = {name: p for name, p in loaded.named_parameters() if name not in frozen}
    return take_weights(system, stored, path)


def trained_steps(path: str | Path) -> int | None:
    """Optimiser steps of a checkpoint or of an exported folder; None where nobody recorded them.

    Raises:
        UserError: neither of them.
    """
    if not is_exported(path):
        return read_checkpoint(path).get("global_step")
    record: Mapping[str, Any] = read_index(Path(path)).get("training") or {}
    return record.get("steps")
