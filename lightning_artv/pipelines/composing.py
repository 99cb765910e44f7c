"""A model of checkpoints and exported folders: one of them, or a system's parts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch

from lightning_artv.checkpoints.file import Weights, load_part
from lightning_artv.errors import UserError
from lightning_artv.pipelines.loading import is_exported, load_system
from lightning_artv.systems.base import Trainable, VideoModel
from lightning_artv.systems.decoder.system import VideoDecoder
from lightning_artv.systems.videogen.slow_motion import SlowMotion
from lightning_artv.systems.videogen.tsr import TemporalSuperResolution


def load_model(
    paths: Sequence[str | Path],
    weights: Weights = "ema",
    device: str | torch.device = "cpu",
    trusted_packages: Sequence[str] = (),
) -> VideoModel:
    """A model ready to generate.

    Args:
        paths: paths of one checkpoint or exported folder; or of several, each a system or parts of
            it, in any order.
        weights, device, trusted_packages: see `load_part`.

    Raises:
        UserError: nothing that can be used, or parts that do not belong together.
        MissingWeightsError: weights that a checkpoint names, or a part of a folder, are not there.
        CorruptWeightsError: a damaged folder.
    """
    if len(paths) == 1:
        return load_system(paths[0], weights, device, trusted_packages)
    parts: dict[str, Trainable] = {}
    given: set[str] = set()
    for path in map(str, paths):
        if path in given:
            raise UserError(f"'{path}' is given twice: give each part once.")
        given.add(path)
        if is_exported(path):
            parts |= _named(path, load_system(path, weights, device).parts())
        else:
            parts[path] = load_part(path, weights, device, trusted_packages)
    return compose(parts).to(device).eval()


def _named(path: str, parts: Sequence[Trainable]) -> dict[str, Trainable]:
    """A folder's parts under names for messages."""
    if len(parts) == 1:
        return {path: parts[0]}
    return {f"{path} ({part.part})": part for part in parts}


def compose(parts: dict[str, Trainable]) -> VideoModel:
    """The whole that parts name; each under a name for messages.

    Raises:
        UserError: parts that do not belong together, or of which none names a whole.
    """
    whole_ones = {name: part for name, part in parts.items() if part.part == "whole"}
    if whole_ones:
        return _with_parts(parts, *whole_ones)
    wholes = sorted({part.whole for part in parts.values() if part.whole is not None})
    if len(wholes) != 1:
        raise UserError("The checkpoints are of no parts that make videos: give a base among them.")
    module, _, name = wholes[0].rpartition(".")
    whole: VideoModel = getattr(import_module(module), name).compose(parts)
    return whole


def _with_parts(parts: dict[str, Trainable], name: str, *more: str) -> VideoModel:
    """The whole system of this name with what is given beside it: a video decoder, temporal
    super-resolution, or both.

    Raises:
        UserError: other parts beside it, one twice, or a decoder that is not of its latents.
    """
    system, others = parts[name], [part for key, part in parts.items() if key != name]
    decoders = [part for part in others if isinstance(part, VideoDecoder)]
    tsr = [part for part in others if isinstance(part, TemporalSuperResolution)]
    if more or len(decoders) > 1 or len(tsr) > 1 or len(decoders) + len(tsr) < len(others):
        raise UserError(
            f"'{name}' holds all of {type(system).__name__}: give it alone, or with one checkpoint "
            "of a video decoder, one of temporal super-resolution, or both."
        )
    assert isinstance(system, VideoModel)
    for decoder in decoders:
        decoder.attach(system)
        for part in tsr:
            decoder.attach(part)
    return SlowMotion(system, tsr[0]) if tsr else system
