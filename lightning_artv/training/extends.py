"""`extends: base.yaml` in a configuration file: it then holds only what differs from its base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from lightning_artv.errors import UserError
from lightning_artv.files import read_yaml


def expand(arguments: Sequence[str]) -> list[str]:
    """Put the bases of every `--config FILE` before it, so that they merge left to right.

    Paths in `extends` are relative to the file that holds them.

    Raises:
        UserError: a file that does not exist, cannot be read as YAML, or extends itself.
    """
    parts: list[str | list[Path]] = []
    pending = iter(arguments)
    for argument in pending:
        name, equals, value = argument.partition("=")
        if name not in ("--config", "-c"):
            parts.append(argument)
            continue
        value = value if equals else next(pending, "")
        parts.append(chain(Path(value)))
    from lightning_artv.checkpoints import earlier  # heavy: not before all files are there

    expanded: list[str] = []
    for part in parts:
        if isinstance(part, str):
            expanded += earlier.arguments(part)
        else:
            expanded += [word for path in part for word in ("--config", _today(path))]
    extended = any(len(part) > 1 for part in parts if not isinstance(part, str))
    # what is saved is resolved: it must not extend anything again
    return [*expanded, "--extends=null"] if extended else expanded


def chain(path: Path, seen: tuple[Path, ...] = ()) -> list[Path]:
    """`path` after its base, its base's base and so on, the farthest first."""
    if not path.is_file():
        raise UserError(f"The configuration file {path} does not exist: check --config.")
    if path.resolve() in seen:
        raise UserError(f"The configuration file {path} extends itself: remove one `extends`.")
    base = _base(path)
    seen = (*seen, path.resolve())
    return [*([] if base is None else chain(path.parent / base, seen)), path]


def _today(path: Path) -> str:
    """The file's path, or what is in it under today's names where it has those of an earlier
    version.
    """
    from lightning_artv.checkpoints import earlier

    content = read_yaml(path, "configuration file")
    today = earlier.run_settings(content)
    earlier.say(earlier.old_names(content), f"The configuration file {path}")
    return str(path) if today == content else str(yaml.safe_dump(today, sort_keys=False))


def _base(path: Path) -> str | None:
    content = read_yaml(path, "configuration file")
    base = content.get("extends") if isinstance(content, dict) else None
    if base is not None and not isinstance(base, str):
        raise UserError(f"`extends` in {path} is {base!r}: give the path of one file.")
    return base
