"""The command line: its options are the fields of the steps' dataclasses, said once."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import shlex
from pathlib import Path

import pytest
import yaml

from data_prep import options as options_module
from data_prep.__main__ import _parser
from data_prep.commands import COMMANDS
from data_prep.options import EngineOptions, SelectOptions, ShapesOptions, ShardOptions
from data_prep.options import captions as caption_options
from data_prep.options import images as image_options
from data_prep.options.arguments import call
from data_prep.options.images import ImageOptions
from data_prep.options.recipe import load_recipe

ROOT = Path(__file__).parents[2]
STEPS = [
    kind
    for kind in (
        *vars(options_module).values(),
        *vars(image_options).values(),
        *vars(caption_options).values(),
    )
    if dataclasses.is_dataclass(kind)
]


def documented() -> list[str]:
    """Each command line that the documentation shows."""
    places = [ROOT / "README.md", ROOT / "Makefile", *(ROOT / "docs").glob("*.md")]
    places += [ROOT / "data_prep" / "example.yaml", *(ROOT / "configs").rglob("*.yaml")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in places)
    found = re.findall(r"^(?:# +)?python -m data_prep (.+?)(?: +#.*)?$", text, re.M)
    return sorted(set(found))


@pytest.mark.parametrize("line", documented())
def test_documented_command_lines_are_understood(line: str) -> None:
    assert _parser().parse_args(shlex.split(line)).command == line.split()[0]


def test_the_documentation_shows_command_lines() -> None:
    shown = {line.split()[0] for line in documented()}
    assert shown >= {"run", "folder", "motion", "clip", "select", "shards", "latents", "check"}


def made(line: str, kind: type) -> object:
    """A step's options as a command line gives them."""
    return call(kind, _parser().parse_args(line.split()))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        *((f"{command} a b", EngineOptions) for command in ("clip", "shards")),
        *((f"{command} a b", kind) for command, kind in (("select", SelectOptions),)),
        ("shards a b", ShardOptions),
        ("images a b", ImageOptions),
        ("caption a b", caption_options.CaptionOptions),
        ("segment a b", caption_options.SegmentOptions),
        ("shapes a --count 3", ShapesOptions),
    ],
)
def test_what_is_not_given_has_the_dataclass_s_default(line: str, kind: type) -> None:
    count = {"count": 3} if kind is ShapesOptions else {}
    assert made(line, kind) == kind(**count)


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("--motion :20 --held-out 0.5", {"motion": [None, 20], "held_out": 0.5}),
        ("--any-motion --keep-duplicates", {"motion": None, "distance": None}),
        ("--filter a=1: --filter b=:0.5", {"filters": {"a": [1, None], "b": [None, 0.5]}}),
        ("--share 0.5 --distance 3", {"share": 0.5, "distance": 3}),
    ],
)
def test_a_command_line_and_a_recipe_say_the_same(tmp_path: Path, line: str, fields: dict) -> None:
    recipe = {"source": {"kind": "folder", "path": "a"}, "out": "b", "select": fields}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    assert made(f"select a b {line}", SelectOptions) == load_recipe(tmp_path / "r.yaml").select


def test_names_of_two_options_do_not_meet() -> None:
    line = "motion a b --kind webvid --engine ray --gpus 0.5"
    options = _parser().parse_args(line.split())
    assert options.kind == "webvid"
    assert call(EngineOptions, options) == EngineOptions("ray", gpus=0.5)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_has_its_help(command) -> None:
    commands = next(a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    parser = commands.choices[command.__name__]
    silent = [a.dest for a in parser._actions if not a.help]
    assert not silent and parser.description
    assert "%%" not in parser.format_help()


@pytest.mark.parametrize("kind", STEPS)
def test_a_step_s_options_are_documented_one_by_one(kind: type) -> None:
    words = "".join(inspect.getdoc(part) or "" for part in kind.__mro__)
    missing = [f.name for f in dataclasses.fields(kind) if f"{f.name}: " not in words]
    assert not missing


@pytest.mark.parametrize(
    "line",
    [
        "select a b --count 1 --share 0.5",
        "select a b --motion 1:2 --any-motion",
        "select a b --distance 3 --keep-duplicates",
        "shards a b --samples 1 --megabytes 2",
        "latents a b --pretrained c --fps 3 --all-frames",
        "select a b --motion 1:x",
        "select a b --filter =1:2",
    ],
)
def test_contradictions_and_half_windows_are_refused(line: str) -> None:
    with pytest.raises(SystemExit) as stop:
        _parser().parse_args(line.split())
    assert stop.value.code == 2


def test_a_recipe_enters_at_most_ten_rooms() -> None:
    rooms = {path.stem for path in (ROOT / "data_prep").iterdir() if path.name != "__init__.py"}
    assert len({room for room in rooms if room not in ("__pycache__", "example")}) <= 10
