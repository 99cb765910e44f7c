"""`python -m data_prep run`: every step, from one YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser

from data_prep.engine import EngineOptions
from data_prep.measure.analyse import AnalyseOptions
from data_prep.measure.clip_score import ClipOptions
from data_prep.pipeline import clip_step, motion_step, shards_step
from data_prep.report import write_report
from data_prep.selection.select import SelectOptions, select
from data_prep.shards.accounts import summary
from data_prep.shards.write import ShardOptions
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
        motion, clip, select, shards: of the steps; without `clip` nothing is scored by CLIP.
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
        raise UserError(f"The recipe {path} is not right: {_sentence(error)}.") from error
    recipe: Recipe = parsed["recipe"]
    return recipe


def run(recipe: Recipe, overwrite: bool = False) -> str:
    """Do what is not done yet of every step.

    Returns:
        what became of the videos, in words.

    Raises:
        UserError: an option or an input has changed, and nothing is to be overwritten.
    """
    out, source = recipe.out, recipe.source
    table, engine = out / "motion.parquet", recipe.engine
    place = (source.kind, source.path, source.videos)
    motion_step(place, out / "listing.parquet", table, recipe.motion, engine, overwrite)
    if recipe.clip is not None:
        scored = out / "clip.parquet"
        clip_step(table, scored, recipe.clip, engine, overwrite)
        table = scored
    selection = out / "selected.parquet"
    select(table, selection, recipe.select)
    accounts = shards_step(selection, out / "shards", recipe.shards, engine, overwrite)
    report = write_report(out)
    return f"{summary(accounts)}\nWrote {report}."


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
