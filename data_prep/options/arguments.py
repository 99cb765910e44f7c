"""A command line from a function: its parameters are the arguments, its docstring is the help.

The fields of a parameter that is a dataclass are options too, so a step's options, their defaults
and their help stand in one place, for recipes (`data_prep.options.recipe`) too. Parameters are
positional; keyword-only ones and fields are options.
"""

from __future__ import annotations

import argparse
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

import docstring_parser

from lightning_artv.errors import UserError
from lightning_artv.given import check_given


@dataclass(frozen=True)
class Argument:
    """What a type does not say about an argument; stands in `Annotated`.

    Attributes:
        flag: option on the command line, instead of the parameter's name.
        off: second option, which gives None, and its help: `--all: keep all`.
        group: name that options share of which only one may be given.
        parse: function of the text; of a mapping it gives one (key, value), and the option may be
            repeated.
        metavar: placeholder of the value in the help.
        help: text where the docstring has none.
        given: noun for the file or folder that is named, which has to exist.
        error: class of the error where it does not.
    """

    flag: str = ""
    off: str = ""
    group: str = ""
    parse: Callable[[str], Any] | None = None
    metavar: str | None = None
    help: str = ""
    given: str = ""
    error: type[UserError] = UserError


@dataclass(frozen=True)
class _Parameter:
    name: str
    hint: Any
    default: Any
    is_option: bool
    help: str
    argument: Argument

    @property
    def flag(self) -> str:
        return self.argument.flag or "--" + self.name.replace("_", "-")

    @property
    def dest(self) -> str:
        return self.flag[2:].replace("-", "_") if self.is_option else self.name

    @property
    def options(self) -> Callable[..., Any] | None:
        """Its class, where that is a dataclass."""
        return self.hint if isinstance(self.hint, type) and is_dataclass(self.hint) else None

    @property
    def is_mapping(self) -> bool:
        return typing.get_origin(self.hint) is Mapping


def add_command(commands: Any, function: Callable[..., str]) -> None:
    """Add a function's parser to the result of `add_subparsers`; `call` will be the function."""
    text = _summary(function)
    parser = commands.add_parser(function.__name__, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(call=function)
    _add_all(parser, function)


def check_inputs(thing: Callable[..., Any], options: argparse.Namespace) -> None:
    """Look for the files and folders that a parsed command line names.

    Raises:
        UserError: one does not exist.
    """
    for parameter in _parameters(thing):
        kind = parameter.argument.given
        if kind:
            check_given(options, {parameter.dest: kind}, parameter.argument.error)


def call(thing: Callable[..., Any], options: argparse.Namespace) -> Any:
    """Call a function, or make a dataclass, with its values of a parsed command line."""
    values = {}
    for parameter in _parameters(thing):
        if parameter.options:
            values[parameter.name] = call(parameter.options, options)
            continue
        value = getattr(options, parameter.dest)
        values[parameter.name] = dict(value or ()) if parameter.is_mapping else value
    return thing(**values)


def _add_all(place: Any, thing: Callable[..., Any]) -> None:
    groups: dict[str, Any] = {}
    for parameter in _parameters(thing):
        if part := parameter.options:
            _add_all(place.add_argument_group(_summary(part)), part)
            continue
        argument = parameter.argument
        within = place
        if shared := argument.group or argument.off:
            if shared not in groups:
                groups[shared] = place.add_mutually_exclusive_group()
            within = groups[shared]
        name = parameter.flag if parameter.is_option else parameter.name
        within.add_argument(name, **_settings(parameter))
        if argument.off:
            flag, _, text = argument.off.partition(": ")
            settings = {"action": "store_const", "const": None, "help": text}
            within.add_argument(flag, dest=parameter.dest, **settings)


def _settings(parameter: _Parameter) -> dict[str, Any]:
    """What argparse is told about a parameter."""
    if parameter.hint is bool:
        return {"action": "store_true", "help": parameter.help}
    settings: dict[str, Any] = {"help": parameter.help, "metavar": parameter.argument.metavar}
    if typing.get_origin(parameter.hint) is typing.Literal:
        settings["choices"] = typing.get_args(parameter.hint)
    settings["type"] = parameter.argument.parse or _type_of(parameter.hint)
    if parameter.is_mapping:
        return {**settings, "action": "append"}
    if parameter.is_option:
        required = parameter.default is inspect.Parameter.empty
        settings |= {"required": True} if required else {"default": parameter.default}
        if not required and parameter.default is not None:
            settings["help"] += f" (default {_words(parameter.default)})"
    return settings


def _type_of(hint: Any) -> type:
    """`float` for `float | None`; `str` for words."""
    choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    plain = next(choice for choice in choices if choice is not type(None))
    return plain if isinstance(plain, type) else str


def _words(default: Any) -> str:
    if isinstance(default, tuple):
        return ":".join("" if bound is None else f"{bound:g}" for bound in default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def _parameters(thing: Callable[..., Any]) -> Iterator[_Parameter]:
    hints, helps = typing.get_type_hints(thing, include_extras=True), _helps(thing)
    for name, parameter in inspect.signature(thing).parameters.items():
        hint, argument = hints[name], Argument()
        if typing.get_origin(hint) is typing.Annotated:
            hint, argument = typing.get_args(hint)
        is_option = is_dataclass(thing) or parameter.kind is inspect.Parameter.KEYWORD_ONLY
        text = helps.get(name, argument.help)
        yield _Parameter(name, hint, parameter.default, is_option, text, argument)


def _helps(thing: Callable[..., Any]) -> dict[str, str]:
    """Parameter -> its line of the docstring, of a class or of those that it is made from."""
    found = {}
    for part in reversed(getattr(thing, "__mro__", (thing,))):
        for entry in docstring_parser.parse(part.__doc__ or "").params:
            text = " ".join((entry.description or "").split())
            found[entry.arg_name] = text.rstrip(".").replace("%", "%%")
    return found


def _summary(thing: Callable[..., Any]) -> str:
    text = docstring_parser.parse(thing.__doc__ or "").short_description or ""
    return " ".join(text.split()).rstrip(".").replace("%", "%%")
