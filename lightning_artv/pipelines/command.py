"""`lightning export`: a checkpoint's model as a folder that diffusers and others read."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_artv.checkpoints.file import (
    CONFIG_KEY,
    EMA_KEY,
    Weights,
    read_checkpoint,
)
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import atomic_path, writing_to
from lightning_artv.networks.pretrained import without_bars
from lightning_artv.pipelines.card import write_card
from lightning_artv.pipelines.composing import load_model
from lightning_artv.pipelines.folder import INDEX, read_index
from lightning_artv.pipelines.loading import is_exported, load_pipeline
from lightning_artv.systems.base import VideoModel

if TYPE_CHECKING:  # diffusers takes long to import
    from lightning_artv.pipelines.stored import StoredPipeline


def run(options: argparse.Namespace) -> int:
    """Export what the options describe and print the folder.

    Raises:
        UserError: bad options or files, in one sentence.
        MissingWeightsError: frozen weights that the checkpoint names are not there.
    """
    export(options.checkpoint, options.output, options.weights, options.overwrite)
    print(options.output)
    return 0


def export(
    checkpoint: str | Path | Sequence[str | Path],
    output: str | Path,
    weights: Weights = "ema",
    overwrite: bool = False,
) -> Path:
    """Write a checkpoint's model into the folder `output`, whole or not at all, and return it.

    Args:
        checkpoint: that `lightning fit` wrote; or a folder that an export wrote, perhaps of an
            earlier version, to be written anew; or several of these, parts of a system.
        output: a new or empty folder.
        weights: the averaged weights (`ema`) or the `raw` ones.
        overwrite: replace an `output` that an export wrote before.

    Raises:
        UserError: a checkpoint that cannot be used, or a place that cannot be written.
        MissingWeightsError: frozen weights that the checkpoint names are not there.
    """
    without_bars()
    output = Path(os.path.abspath(output))
    _check_output(output, overwrite)
    paths = [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint)
    pipeline = pipeline_of(paths, weights)
    with atomic_path(output) as temporary:
        with writing_to(output):
            pipeline.save_pretrained(temporary)
            write_card(temporary, pipeline.about, pipeline.config.training or {}, output.name)
        old = output.with_name(f".{output.name}.{os.getpid()}.old")
        if output.is_dir():
            os.replace(output, old)  # deleting takes time, in which half a folder would be there
    if old.is_dir():
        shutil.rmtree(old)
    return output


def pipeline_of(paths: Sequence[str | Path], weights: Weights) -> StoredPipeline:
    """The diffusers pipeline of a checkpoint, of those of parts, or of an exported folder.

    Raises:
        UserError: nothing that can be used, or a system that has no pipeline.
        MissingWeightsError: weights that a checkpoint names, or a part of a folder, are not there.
    """
    if len(paths) == 1 and is_exported(paths[0]):
        return load_pipeline(paths[0], weights)
    system = load_model(paths, weights)
    return pipeline_class(system).from_system(system, _record(paths, weights))


def _record(paths: Sequence[str | Path], weights: Weights) -> dict[str, Any]:
    """What is told of the training of several parts: the base's record, which has the others."""
    records: list[dict[str, Any]] = []
    for path in paths:
        if is_exported(path):
            told = dict(read_index(Path(path)).get("training") or {})
            records += [*told.pop("parts", []), told]
        else:
            records.append(training_record(read_checkpoint(path), weights))
    records.sort(key=lambda one: _rank(one.get("system") or {}))  # whatever their order
    record, *others = records
    return {**record, "parts": others} if others else record


def _rank(system: Mapping[str, Any]) -> tuple[bool, str]:
    """The base comes before what is built on it."""
    is_base = str(system.get("class_path")).endswith(".Base.build")
    return not is_base, json.dumps(system, sort_keys=True)


def pipeline_class(system: VideoModel) -> type[StoredPipeline]:
    """The diffusers pipeline that a system is exported as.

    Raises:
        UserError: a system that has none.
    """
    if system.pipeline is None:
        raise UserError(
            f"{type(system).__name__} has no diffusers pipeline to export: share its checkpoints, "
            "which `lightning generate` reads."
        )
    module, _, name = system.pipeline.rpartition(".")
    kind: type[StoredPipeline] = getattr(import_module(module), name)
    return kind


def training_record(checkpoint: Mapping[str, Any], weights: Weights) -> dict[str, Any]:
    """What the model card tells of the training, as plain data, from a checkpoint."""
    config = checkpoint[CONFIG_KEY]
    return {
        "weights": weights,
        "steps": checkpoint.get("global_step"),
        "ema_updates": (checkpoint.get(EMA_KEY) or {}).get("updates"),
        "system": config["system"],
        "data": config["data"],
        "run": config.get("run"),
    }


def _check_output(output: Path, overwrite: bool) -> None:
    if output.is_dir() and any(output.iterdir()):
        if not (output / INDEX).is_file():
            raise UserError(f"{output} is a folder with other files in it: name another.")
        if not overwrite:
            raise UserError(f"{output} is there already: name another folder or add --overwrite.")
    elif output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file: name a folder.")
