"""Configurations, command lines and checkpoints of earlier versions, under today's names.

The names themselves belong to the systems (`systems/*/earlier.py`); this is where all that is read
goes through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_artv.systems.artv import earlier as artv
from lightning_artv.systems.base import VideoSystem

_OPTION = re.compile(r"--model\.system\.(?:init_args\.)?(?P<name>\w+)(?P<rest>(?:[.=].*)?)", re.S)
_CLASS = re.compile(r"--model\.system(?:\.class_path)?=(?P<path>.+)")


def system_settings(system: Mapping[str, Any]) -> dict[str, Any]:
    """A system's configuration, or an overlay of one, of today or of an earlier version.

    A class of another system keeps its settings.
    """
    path = system.get("class_path")
    return dict(system) if path not in (None, artv.CLASS, *artv.CLASSES) else artv.settings(system)


def run_settings(config: Any) -> Any:
    """A run's configuration file: `model.system` under today's names, all else as it is."""
    model = config.get("model") if isinstance(config, dict) else None
    system = model.get("system") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(system, dict):
        return config
    return {**config, "model": {**model, "system": system_settings(system)}}


def argument(word: str) -> str:
    """A command line's word under today's name."""
    found = _CLASS.fullmatch(word)
    if found and found["path"] in artv.CLASSES:
        return word.replace(found["path"], artv.CLASS)
    found = _OPTION.fullmatch(word)
    if found and found["name"] in artv.GROUPS:
        group = artv.GROUPS[found["name"]]
        return f"--model.system.init_args.{group}.{found['name']}{found['rest']}"
    return word


def rename_weights(checkpoint: Mapping[str, Any], system: VideoSystem, prefix: str) -> None:
    """Give the weights in a checkpoint, raw and averaged, today's names, in place.

    Args:
        checkpoint: has `state_dict`, and perhaps `ema`.
        system: whose weights they are.
        prefix: before the names in `state_dict`.
    """
    average = (checkpoint.get("ema") or {}).get("weights", {})
    for weights, before in ((checkpoint["state_dict"], prefix), (average, "")):
        for name in [*weights]:
            for old, new in system.renamed.items():
                if name.startswith(before + old):
                    weights[before + new + name.removeprefix(before + old)] = weights.pop(name)


def weight_names(system: VideoSystem, name: str) -> Iterator[str]:
    """Every name that a checkpoint may hold the weight `name` under, today's first."""
    yield name
    for old, new in system.renamed.items():
        if name.startswith(new):
            yield old + name.removeprefix(new)
