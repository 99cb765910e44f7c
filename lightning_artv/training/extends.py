"""Configuration files as Lightning reads them: `extends`, callbacks by name, earlier paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_artv.errors import UserError
from lightning_artv.files import read_yaml
from lightning_artv.training.keyed import Callbacks
from lightning_artv.training.renamed import renamed


@dataclass(frozen=True)
class Source:
    """A configuration file and its content."""

    path: Path
    content: Any


def expand(arguments: Sequence[str]) -> list[str]:
    """Put the bases of every `--config FILE` before it, so that they merge left to right.

    Paths in `extends` are relative to the file that holds them. Callbacks by name, of all files and
    of the command line, become one list after the last file.

    Raises:
        UserError: a file that does not exist, cannot be read as YAML, or extends itself; a callback
            that does not exist.
    """
    parts: list[str | list[Source]] = []
    pending = iter(arguments)
    for argument in pending:
        name, equals, value = argument.partition("=")
        if name not in ("--config", "-c"):
            parts.append(argument)
            continue
        value = value if equals else next(pending, "")
        parts.append(chain(Path(value)))
    from lightning_artv.checkpoints import earlier  # heavy: not before all files are there

    callbacks, expanded, end = Callbacks(), list[str](), 0
    for part in parts:
        if isinstance(part, str):
            expanded += earlier.arguments(part)
        else:
            expanded += [w for source in part for w in ("--config", _today(source, callbacks))]
            end = len(expanded)
    before, after = callbacks.override(expanded[:end]), callbacks.override(expanded[end:])
    if listed := callbacks.content():
        before += ["--config", _text(listed)]
    extended = any(len(part) > 1 for part in parts if not isinstance(part, str))
    # what is saved is resolved: it must not extend anything again
    return [*before, *after, "--extends=null"] if extended else [*before, *after]


def chain(path: Path, seen: tuple[Path, ...] = ()) -> list[Source]:
    """`path` after its base, its base's base and so on, the farthest first.

    Raises:
        UserError: a file that does not exist, cannot be read as YAML, or extends itself.
    """
    if (now := renamed(path)) is not None:
        sources = [source for file in now.paths for source in chain(file, seen)]
        return [*sources, *([Source(path, now.settings)] if now.settings else [])]
    if not path.is_file():
        raise UserError(f"The configuration file {path} does not exist: check --config.")
    if path.resolve() in seen:
        raise UserError(f"The configuration file {path} extends itself: remove one `extends`.")
    source = Source(path, read_yaml(path, "configuration file"))
    base = _base(source)
    seen = (*seen, path.resolve())
    return [*([] if base is None else chain(path.parent / base, seen)), source]


def _today(source: Source, callbacks: Callbacks) -> str:
    """The file's path, or what is in it under today's names and without callbacks by name."""
    from lightning_artv.checkpoints import earlier

    where = f"The configuration file {source.path}"
    earlier.say(earlier.old_names(source.content), where)
    content = callbacks.take(earlier.run_settings(source.content), str(source.path))
    as_it_is = content == source.content and source.path.is_file()
    return str(source.path) if as_it_is else _text(content)


def _text(content: Any) -> str:
    return str(yaml.safe_dump(content, sort_keys=False))


def _base(source: Source) -> str | None:
    content = source.content
    base = content.get("extends") if isinstance(content, dict) else None
    if base is not None and not isinstance(base, str):
        raise UserError(f"`extends` in {source.path} is {base!r}: give the path of one file.")
    return base
