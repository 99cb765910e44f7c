"""Callbacks by name in configurations and on the command line, as the list that Lightning takes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_artv.errors import UserError
from lightning_artv.files import parse_yaml

_OPTION = re.compile(
    r"--trainer\.callbacks\.(?P<key>\w+)(?:\.(?P<rest>[\w.]+))?(?P<value>=.*)?", re.DOTALL
)
_LISTED = re.compile(r"--trainer\.callbacks\+?(=|$)")
_OF_A_CLASS = ("class_path", "init_args", "dict_kwargs")


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two configurations as one: mappings merge, all else is the upper one's."""
    result = dict(below)
    for key, value in above.items():
        there = result.get(key)
        both = isinstance(there, Mapping) and isinstance(value, Mapping)
        result[key] = merged(there, value) if both else value  # type: ignore[arg-type]
    return result


class Callbacks:
    """The callbacks of several configurations, each merged over those before it."""

    def __init__(self) -> None:
        self.by_name: dict[str, Any] = {}
        self._listed_in = ""

    def take(self, content: Any, where: str) -> Any:
        """Merge a configuration's callbacks by name over these; the configuration without them.

        A list replaces all callbacks before it and stays in the configuration; a list under
        `callbacks+` is added.

        Raises:
            UserError: names after a list, or what is no callback.
        """
        trainer = content.get("trainer") if isinstance(content, Mapping) else None
        if not isinstance(trainer, Mapping):
            return content
        rest, given, added = dict(trainer), trainer.get("callbacks"), trainer.get("callbacks+")
        if isinstance(given, Mapping) and "class_path" not in given:
            self._merge(rest.pop("callbacks"), where)
        elif "callbacks" in trainer:
            self.by_name, self._listed_in = {}, where
        if self.by_name and added is not None:
            listed = rest.pop("callbacks+")
            listed = listed if isinstance(listed, list) else [listed]
            self._merge({f"{len(self.by_name)}+{n}": each for n, each in enumerate(listed)}, where)
        return {**content, "trainer": rest}

    def _merge(self, given: Mapping[str, Any], where: str) -> None:
        if self._listed_in:
            raise UserError(
                f"The callbacks in {where} have names, and those in {self._listed_in} are a list: "
                "write both in one way."
            )
        for name, callback in given.items():
            if callback is not None and not isinstance(callback, Mapping):
                raise UserError(
                    f"The callback '{name}' in {where} must be {{class_path: ..., init_args: ...}}"
                    f", or null to leave it out, not {callback!r}."
                )
        self.by_name = merged(self.by_name, given)

    def override(self, arguments: Sequence[str]) -> list[str]:
        """Take `--trainer.callbacks.NAME.init_args.KEY VALUE` from a command line; what is left.

        Raises:
            UserError: there is no callback of that name.
        """
        left, pending = [], iter(arguments)
        listed = any(_LISTED.match(argument) for argument in arguments)  # Lightning's own way
        for argument in pending:
            found = _OPTION.fullmatch(argument) if self.by_name else None
            if found is None or (listed and found["key"] not in self.by_name):
                left.append(argument)
                continue
            text = found["value"][1:] if found["value"] else next(pending, "")
            self._set(found["key"], found["rest"], text)
        return left

    def _set(self, name: str, rest: str | None, text: str) -> None:
        keys = rest.split(".") if rest else []
        if keys and keys[0] not in _OF_A_CLASS:
            keys.insert(0, "init_args")
        if name not in self.by_name and keys not in ([], ["class_path"]):
            close = difflib.get_close_matches(name, self.by_name, n=1)
            known = f"did you mean '{close[0]}'?" if close else f"use {', '.join(self.by_name)}."
            raise UserError(f"There is no callback '{name}': {known}")
        try:
            value = parse_yaml(text)
        except ValueError:
            value = text
        for key in reversed(keys):
            value = {key: value}
        self.take({"trainer": {"callbacks": {name: value}}}, "the command line")

    def content(self) -> dict[str, Any]:
        """What Lightning reads; empty where no callback has a name.

        Raises:
            UserError: a callback without its class.
        """
        kept = {name: callback for name, callback in self.by_name.items() if callback is not None}
        for name, callback in kept.items():
            if "class_path" not in callback:
                raise UserError(f"The callback '{name}' has no class: give its class_path.")
        return {"trainer": {"callbacks": list(kept.values())}} if self.by_name else {}
