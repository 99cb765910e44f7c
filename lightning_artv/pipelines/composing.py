"""A model of one checkpoint or exported folder, or of the checkpoints of a system's parts."""

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


def load_model(
    paths: Sequence[str | Path],
    weights: Weights = "ema",
    device: str | torch.device = "cpu",
    trusted_packages: Sequence[str] = (),
) -> VideoModel:
    """A model ready to generate.

    Args:
        paths: paths of one checkpoint or exported folder, or of the checkpoints of parts, in any
            order.
        weights, device, trusted_packages: see `load_part`.

    Raises:
        UserError: nothing that can be used, or parts that do not belong together.
        MissingWeightsError: weights that a checkpoint names are not there.
    """
    if len(paths) == 1:
        return load_system(paths[0], weights, device, trusted_packages)
    parts: dict[str, Trainable] = {}
    for path in map(str, paths):
        if is_exported(path):
            raise UserError(f"'{path}' is an exported folder, which is whole: give it alone.")
        if path in parts:
            raise UserError(f"'{path}' is given twice: give each part once.")
        parts[path] = load_part(path, weights, device, trusted_packages)
    return compose(parts).to(device).eval()


def compose(parts: dict[str, Trainable]) -> VideoModel:
    """The whole that parts name; each under a name for messages.

    Raises:
        UserError: parts that do not belong together, or of which none names a whole.
    """
    whole_ones = {name: part for name, part in parts.items() if part.part == "whole"}
    if whole_ones:
        return _decoding_by_another(parts, *whole_ones)
    wholes = sorted({part.whole for part in parts.values() if part.whole is not None})
    if len(wholes) != 1:
        raise UserError("The checkpoints are of no parts that make videos: give a base among them.")
    module, _, name = wholes[0].rpartition(".")
    whole: VideoModel = getattr(import_module(module), name).compose(parts)
    return whole


def _decoding_by_another(parts: dict[str, Trainable], name: str, *more: str) -> VideoModel:
    """The whole system of this name, with the video decoder that is given beside it.

    Raises:
        UserError: other parts beside it, or a decoder that is not of its latents.
    """
    system, *others = parts[name], *(part for key, part in parts.items() if key != name)
    if more or len(others) != 1 or not isinstance(others[0], VideoDecoder):
        raise UserError(
            f"'{name}' holds all of {type(system).__name__}: give it alone, or with the checkpoint "
            "of a video decoder."
        )
    assert isinstance(system, VideoModel)
    others[0].attach(system)
    return system
