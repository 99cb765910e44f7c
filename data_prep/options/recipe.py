"""A recipe: the options of all steps in one YAML, for `python -m data_prep run`."""

from __future__ import annotations

from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from pathlib import Path

from data_prep.options import (
    AnalyseOptions,
    ClipOptions,
    EngineOptions,
    SelectOptions,
    ShardOptions,
)
from lightning_artv.errors import UserError
from lightning_artv.files import read_yaml


@dataclass(frozen=True)
class Source:
    """Where the raw videos are.

    Attributes:
        kind: `webvid`, `openvid`, `folder`, `video2dataset`, `ucf101` or `msrvtt`.
        path: the CSV or JSON, or the folder.
        videos: the folder of the videos that a CSV or JSON lists.
    """

    kind: str
    path: Path
    videos: Path | None = None


@dataclass(frozen=True)
class Recipe:
    """All steps' options; paths are relative to where the command runs.

    Attributes:
        source: what to read.
        out: the folder for everything that is written.
        motion, clip, select, shards: options of the steps; without `clip` nothing is scored by
            CLIP.
        engine: who works.
    """

    source: Source
    out: Path
    motion: AnalyseOptions = field(default_factory=AnalyseOptions)
    clip: ClipOptions | None = None
    select: SelectOptions = field(default_factory=SelectOptions)
    shards: ShardOptions = field(default_factory=ShardOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        UserError: no such file, no YAML, an unknown key or a value of the wrong type.
    """
    from jsonargparse import ArgumentError, ArgumentParser  # it takes a moment

    fields = read_yaml(path, "recipe")
    names = {f.name for f in fields_of(Recipe)}
    if not isinstance(fields, dict) or fields.keys() - names:
        found = ", ".join(map(str, fields)) if isinstance(fields, dict) else type(fields).__name__
        raise UserError(f"The recipe {path} has the keys {', '.join(sorted(names))}, not {found}.")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--recipe", type=Recipe, required=True)
    try:
        parsed = parser.instantiate_classes(parser.parse_object({"recipe": fields}))
    except (ArgumentError, TypeError, ValueError) as error:
        sentence = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"The recipe {path} is not right: {sentence}.") from error
    recipe: Recipe = parsed["recipe"]
    return recipe
