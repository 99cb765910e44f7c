"""jsonargparse's messages, turned into one sentence that names the thing and the fix."""

from __future__ import annotations

import difflib
import importlib
import inspect
import itertools
import linecache
import re
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from jsonargparse import ArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lightning_artv.errors import UserError

_OWN = ("lightning.", "lightning_utilities.", "jsonargparse.", "torch.optim.")
_ALTERNATIVES = re.compile(r".*Union subtypes.*?Errors:\s+- (.*?)\s+- ", re.DOTALL)
_LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
}
"""What Lightning does not check itself."""

_LOST = re.compile(
    r"gloo/transport/.*(closed by peer|reset by peer|Broken pipe)|remote process (exited|has)"
)
"""What gloo and NCCL say in the other processes of a run when one of them ends."""

_WANTED = re.compile(
    r"Expected (?:an? )?(?:member of )?(?:"
    r"<(?:class|enum) '(?P<type>[\w.]+)'>|typing\.Literal\[(?P<words>[^\]]*)\]"
    r"|(?P<path>(?:dot )?import path)|(?P<tuple>tuple with \d+ elements))"
)
_OTHER_CLASS = re.compile(r"Import path (\S+) does not (?:\w+ )+(?:of )?(\w+)")
_GOT = re.compile(r"(?:Got value: |Given value: |import path string: )(.*)")
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "NoneType": "null",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "Iterable": "a list",
    "Sequence": "a list",
    "Mapping": "a mapping",
}
"""What a type's values are called in YAML."""

_PARSER_KEY = re.compile(r'Parser key "([^"]+)"')
_CLASS = re.compile(r"Problem with given class_path '([^']+)':\s*")
_UNKNOWN = (
    re.compile(r"Option '(?P<key>[^']+)' is not accepted"),
    re.compile(r"Group '(?P<group>[^']+)' does not accept option '(?P<key>[^']+)'"),
    re.compile(r"Subcommand '[^']+' does not accept option '(?P<key>[^']+)'"),
    re.compile(r"[Uu]nrecognized arguments: (?P<key>\S+)"),
)


def explain(message: str, parser: ArgumentParser) -> str:
    """One sentence for a parsing error of `parser` (a subcommand's parser, or the main one)."""
    unknown = _find_unknown(message)
    if unknown is not None:
        return _explain_unknown(*unknown, message, parser)
    classes = list(_CLASS.finditer(message))
    if classes:
        return _explain_class(classes[-1][1], _until_next(message, classes[-1]), message)
    return _one_sentence(message)


def refusal(error: Exception) -> str | None:
    """One sentence for what Lightning itself refuses about an option, and for what the other
    processes of a run see when one ends; None for other errors.

    It raises many types for that, `ValueError` and `RuntimeError` among them, so that it counts
    whose statement raised the error.
    """
    if isinstance(error, MisconfigurationException):
        return _one_sentence(str(error))
    if isinstance(error, RuntimeError) and _LOST.search(str(error)):
        return (
            "Another process of this run has ended, or the network to it is lost: look for its own "
            "message."
        )
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    own = str(frame.f_globals.get("__name__", "")).startswith(_OWN)
    if not own or not linecache.getline(frame.f_code.co_filename, line).strip().startswith("raise"):
        return None
    text = str(error.args[0]) if isinstance(error, KeyError) else str(error)
    first = _ALTERNATIVES.match(text)
    return _one_sentence(first[1] if first else text)


def check_trainer(options: Mapping[str, Any]) -> None:
    """Refuse numbers that Lightning would divide by, or take for something else.

    Raises:
        UserError: naming the option and what it may be.
    """
    for name, least in _LEAST.items():
        value = options.get(name)
        if isinstance(value, int | float) and not value >= least:
            raise UserError(f"trainer.{name} must be at least {least}, got {value}.")
    if options.get("val_check_interval") == 0:
        raise UserError(
            "trainer.val_check_interval must be above 0: a number of batches, or a share of an "
            "epoch; set trainer.limit_val_batches 0 to validate never."
        )


def _find_unknown(message: str) -> tuple[str, int] | None:
    """The misspelt key and where the message names it."""
    for pattern in _UNKNOWN:
        found = pattern.search(message)
        if found:
            group = found.groupdict().get("group")
            key = found.group("key").lstrip("-").split("=")[0]
            return (f"{group}.{key}" if group else key), found.start()
    return None


def _explain_unknown(key: str, position: int, message: str, parser: ArgumentParser) -> str:
    owner = [m.group(1) for m in _CLASS.finditer(message[:position])]
    if owner:
        candidates = [*class_options(owner[-1]), "class_path", "init_args"]
        where = f"Unknown option '{key}' of {owner[-1]}"
    else:
        candidates = list(parser_options(parser))
        where = f"Unknown configuration key '{key}'"
    return f"{where}{suggestion(key, candidates)}"


def suggestion(key: str, candidates: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest candidate, else where to look."""
    names = sorted(set(candidates))
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if not close:  # the right name at another depth, as `max_steps` for `trainer.max_steps`
        ends = [name for name in names if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
        close = ends[:1] or difflib.get_close_matches(key.split(".")[0], names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    listed = ", ".join(name for name in names if "." not in name)
    return f"; the keys here are {listed}." if listed else "."


def parser_options(parser: ArgumentParser) -> Iterable[str]:
    """The dotted keys that a parser accepts; those of its subcommands too where it has any."""
    for action in parser._actions:
        choices = getattr(action, "_name_parser_map", None)
        if isinstance(choices, dict):
            for subparser in choices.values():
                yield from parser_options(subparser)
        elif action.dest not in ("help", "==SUPPRESS=="):
            yield action.dest


def class_options(class_path: str) -> list[str]:
    """The names of a class's arguments, inherited ones included; empty if it cannot be imported."""
    module, _, name = class_path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return []
    if not inspect.isclass(cls):
        return list(inspect.signature(cls).parameters)
    added = ArgumentParser(exit_on_error=False).add_class_arguments(cls, fail_untyped=False)
    return [key.split(".")[0] for key in added]


def _until_next(message: str, found: re.Match[str]) -> str:
    """What follows a match, up to the next item of its own list."""
    bullet = message[message.rfind("\n", 0, found.start()) : found.start()]
    following = message[found.end() :]
    return following.partition(bullet)[0] if bullet.endswith("- ") else following


def _explain_class(class_path: str, reason: str, message: str) -> str:
    key = _PARSER_KEY.search(message)
    where = f"{key.group(1)}: " if key else ""
    reason = _one_sentence(reason)
    if reason.startswith("No module named") or "has no attribute" in reason:
        module, _, name = class_path.rpartition(".")
        return f"{where}there is no class '{class_path}'{_similar_class(module, name)}"
    return f"{where}'{class_path}' cannot be configured: {reason}"


def _wanted(message: str) -> str | None:
    """`must be a whole number or null, got abc` for a value of another type; else None.

    jsonargparse says so in Python's notation, with a line for each type that would do.
    """
    other = _OTHER_CLASS.search(message)
    if other:
        return f"must be a {other[2]}, got {other[1]}"
    got = _GOT.search(message)
    found = itertools.chain.from_iterable(map(_in_words, _WANTED.finditer(message)))
    wanted = list(dict.fromkeys(found))
    if got is None or not wanted:
        return None
    *others, last = sorted(wanted, key="null".__eq__)
    either = f"{', '.join(others)} or {last}" if others else last
    return f"must be {either}, got {got[1].strip().removesuffix('.') or 'nothing'}"


def _in_words(found: re.Match[str]) -> list[str]:
    """What `_WANTED` found."""
    if found["words"]:
        return [word.strip(" '") for word in found["words"].split(",")]
    if found["path"]:
        return ["a class (class_path: package.module.Class)"]
    if found["tuple"]:
        return [found["tuple"].replace("tuple with", "a list of")]
    name = found["type"].rpartition(".")[2]
    return [_WORDS.get(name, f"a {name}")]


def _similar_class(module: str, name: str) -> str:
    try:
        members = vars(importlib.import_module(module))
    except (ImportError, ValueError):
        return f" because there is no module '{module}'."
    classes = [n for n, value in members.items() if inspect.isclass(value)]
    close = difflib.get_close_matches(name, classes, n=1)
    return f"; did you mean '{module}.{close[0]}'?" if close else "."


def _one_sentence(message: str, limit: int = 400) -> str:
    wanted = _wanted(message)
    if wanted:
        keys = _PARSER_KEY.findall(message)
        message = f"{keys[-1]} {wanted}" if keys else f"It {wanted}"
    text = _PARSER_KEY.sub(r"\1", " ".join(message.split()))
    if len(text) > limit:
        text = text[:limit].rstrip() + " ..."
    return text if text.endswith((".", "?", "!")) else f"{text}."
