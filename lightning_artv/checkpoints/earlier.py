"""Configurations, command lines and checkpoints of earlier versions, under today's names.

The names themselves belong to the systems (`systems/*/earlier.py`); this is where all that is read
goes through.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lightning_artv.systems.artv import earlier as artv
from lightning_artv.systems.base import Trainable

_OPTION = re.compile(r"--model\.system\.(?:init_args\.)?(?P<name>\w+)(?P<rest>(?:[.=].*)?)", re.S)
_DATA = re.compile(r"--data\.(?P<name>\w+)(?P<rest>(?:=.*)?)", re.S)
_ARGUMENTS = "model.system.init_args"
NAMES = {f"{_ARGUMENTS}.{n}": f"{_ARGUMENTS}.{group}.{n}" for n, group in artv.GROUPS.items()}
NAMES |= {f"data.{n}": f"data.windows.init_args.{today}" for n, today in artv.WINDOWS.items()}
"""A setting's name in version 0.1 -> its name now; the old ones are read for one release."""
_CLASS = re.compile(r"--model\.system(?:\.class_path)?=(?P<path>.+)")


def system_settings(system: Mapping[str, Any]) -> dict[str, Any]:
    """A system's configuration, or an overlay of one, of today or of an earlier version.

    A class of another system keeps its settings.
    """
    path = system.get("class_path")
    return dict(system) if path not in (None, artv.CLASS, *artv.CLASSES) else artv.settings(system)


def data_settings(data: Mapping[str, Any]) -> dict[str, Any]:
    """A data module's settings, or an overlay of them, of today or of an earlier version."""
    return artv.data(data)


def run_settings(config: Any) -> Any:
    """A run's configuration file with `model.system` and `data` under today's names."""
    if not isinstance(config, dict):
        return config
    today, model = dict(config), config.get("model")
    system = model.get("system") if isinstance(model, dict) else None
    if isinstance(model, dict) and isinstance(system, dict):
        today["model"] = {**model, "system": system_settings(system)}
    if isinstance(config.get("data"), dict):
        today["data"] = data_settings(config["data"])
    return today


def say(names: Iterable[str], where: str) -> None:
    """Warn that `names`, of `NAMES`, have others now, in one sentence."""
    renamed = ", ".join(f"{name} is now {NAMES[name]}" for name in names)
    if renamed:
        warnings.warn(
            f"{where} uses names that the next release refuses: {renamed}.",
            stacklevel=3,
        )


def old_names(config: Any) -> list[str]:
    """Those of `NAMES` that a run's configuration file holds."""
    return [name for name in NAMES if _holds(config, name.split("."))]


def _holds(tree: Any, path: Sequence[str]) -> bool:
    if not path:
        return True
    return isinstance(tree, Mapping) and path[0] in tree and _holds(tree[path[0]], path[1:])


def arguments(word: str) -> list[str]:
    """A command line's word under today's names; one that is renamed is said."""
    found = _CLASS.fullmatch(word)
    if found and found["path"] in artv.CLASSES:
        return [word.replace(found["path"], artv.CLASS)]
    found = _OPTION.fullmatch(word)
    if found and found["name"] in artv.GROUPS:
        group = artv.GROUPS[found["name"]]
        say([f"{_ARGUMENTS}.{found['name']}"], "The command line")
        return [f"--{_ARGUMENTS}.{group}.{found['name']}{found['rest']}"]
    found = _DATA.fullmatch(word)
    if found and found["name"] in artv.WINDOWS:
        say([f"data.{found['name']}"], "The command line")
        name = f"--data.windows.init_args.{artv.WINDOWS[found['name']]}{found['rest']}"
        return [f"--data.windows={artv.WINDOWS_CLASS}", name]
    return [word]


def rename_weights(checkpoint: Mapping[str, Any], system: Trainable, prefix: str) -> None:
    """Give the weights in a checkpoint, raw and averaged, today's names, in place.

    Args:
        checkpoint: has `state_dict`, and perhaps `ema`.
        system: whose weights they are.
        prefix: what stands before the names in `state_dict`.
    """
    average = (checkpoint.get("ema") or {}).get("weights", {})
    for weights, before in ((checkpoint["state_dict"], prefix), (average, "")):
        for name in [*weights]:
            for old, new in system.renamed.items():
                if name.startswith(before + old):
                    weights[before + new + name.removeprefix(before + old)] = weights.pop(name)


def step_output(output: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint keeps of a training step for `LossByTimestep`, under today's names."""
    return artv.step_output(output)


def weight_names(system: Trainable, name: str) -> Iterator[str]:
    """Every name that a checkpoint may hold the weight `name` under, today's first."""
    yield name
    for old, new in system.renamed.items():
        if name.startswith(new):
            yield old + name.removeprefix(new)
