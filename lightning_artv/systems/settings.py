"""Sampling settings are frozen dataclasses of a system's own; their dotted names can be set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser

from lightning_artv.errors import UserError

Settings = TypeVar("Settings")


def setting_names(settings: Any) -> list[str]:
    """The dotted names of a dataclass's fields, such as `steps` and `guidance.text`."""
    return list(_names(settings))


def _names(settings: Any) -> Iterator[str]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from (f"{field.name}.{name}" for name in _names(value))
        else:
            yield field.name


def with_settings(settings: Settings, changes: Mapping[str, Any], also: str = "") -> Settings:
    """`settings` with values in place of those under the dotted names.

    Args:
        settings: a frozen dataclass, perhaps with others in it.
        changes: dotted name -> value of the field's type, or a text, as a command line gives it.
        also: what else could have been named, for the message.

    Raises:
        UserError: a name that the settings have not, or a value that is not the field's.
    """
    _check_names(settings, changes, also)
    values = {
        tuple(name.split(".")): _parsed(settings, name, value) if isinstance(value, str) else value
        for name, value in changes.items()
    }
    return _replaced(settings, values)


def restored(settings: Settings, plain: Mapping[str, Any]) -> Settings:
    """`settings` with the values of plain data, as `dataclasses.asdict` gives them."""
    inner = {name: getattr(settings, name) for name in plain}
    changes = {
        name: restored(inner[name], value) if dataclasses.is_dataclass(inner[name]) else value
        for name, value in plain.items()
    }
    return dataclasses.replace(settings, **changes)  # type: ignore[type-var]  # a dataclass


def _check_names(settings: Any, names: Iterable[str], also: str) -> None:
    known = setting_names(settings)
    for name in names:
        if name not in known:
            raise UserError(
                f"There is no setting '{name}': {type(settings).__name__} has {', '.join(known)}"
                f"{also}."
            )


def _replaced(settings: Any, changes: Mapping[tuple[str, ...], Any]) -> Any:
    flat = {path[0]: value for path, value in changes.items() if len(path) == 1}
    inner = {path[0] for path in changes if len(path) > 1}
    nested = {
        name: _replaced(
            getattr(settings, name),
            {path[1:]: value for path, value in changes.items() if path[0] == name},
        )
        for name in inner
    }
    return dataclasses.replace(settings, **flat, **nested)


def _parsed(settings: Any, name: str, text: str) -> Any:
    """A text as a value of its field's type."""
    *path, last = name.split(".")
    for part in path:
        settings = getattr(settings, part)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=get_type_hints(type(settings))[last])
    try:
        return parser.parse_args([f"--value={text}"]).value
    except ArgumentError as error:
        kind = in_words(get_type_hints(type(settings))[last])
        raise UserError(f"{name} cannot be '{text}': give {kind}.") from error


def in_words(hint: Any) -> str:
    """A type as a person would say it, such as "a whole number or null (none)"."""
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(in_words(kind) for kind in get_args(hint))
    if get_origin(hint) in (list, tuple):
        kinds = list(dict.fromkeys(in_words(k) for k in get_args(hint) if k is not ...))
        return f"a list, each of it {' or '.join(kinds)}"
    return _WORDS.get(hint, f"a value of {getattr(hint, '__name__', hint)}")


_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "null (none)",
}
