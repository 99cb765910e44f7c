"""A system from the `class_path` and `init_args` that a checkpoint carries.

A checkpoint may come from anywhere, so what it names is checked before anything is imported.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from lightning_artv.checkpoints.earlier import system_settings
from lightning_artv.errors import UserError
from lightning_artv.systems.base import Trainable

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def instantiate_system(config: Any, trusted_packages: Sequence[str] = ()) -> Trainable:
    """The system, or the part of one, that `config` describes.

    Args:
        config: `{"class_path": ..., "init_args": {...}}`, nested as deep as needed.
        trusted_packages: packages besides `lightning_artv` whose classes may be named.

    Raises:
        UserError: a class of another package, or arguments that the class does not take.
        MissingWeightsError: a folder of frozen weights that `config` names is not there.
    """
    trusted = ("lightning_artv", *trusted_packages)
    for path in imported_paths(config):
        if path.split(".")[0] not in trusted:
            raise UserError(
                f"The checkpoint names '{path}', but only classes of {', '.join(trusted)} are "
                "loaded from one."
            )
    config = system_settings(config) if isinstance(config, dict) else config
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Trainable, "system", required=True)
    try:
        system = parser.instantiate_classes(parser.parse_object({"system": config})).system
    except (ArgumentError, TypeError, ValueError, ImportError) as error:
        if isinstance(error.__cause__, UserError):  # of the class itself, wrapped by jsonargparse
            raise error.__cause__ from None
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"The checkpoint's system cannot be built: {reason}.") from error
    if not isinstance(system, Trainable):
        raise UserError("The checkpoint's configuration does not describe a system.")
    return system


def imported_paths(config: Any) -> Iterator[str]:
    """Every string in `config` that could make the parser import something.

    That is each `class_path`, and any dotted name whose first part is an importable module.
    """
    if isinstance(config, dict):
        for key, value in config.items():
            if key == "class_path":
                yield str(value)
            else:
                yield from imported_paths(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from imported_paths(value)
    elif isinstance(config, str) and _DOTTED.fullmatch(config) and _importable(config):
        yield config


def _importable(path: str) -> bool:
    return importlib.util.find_spec(path.split(".")[0]) is not None
