"""Callbacks by name: one value of one is one line, in YAML and on the command line."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_artv.errors import UserError
from lightning_artv.training.extends import expand

BASE = """
trainer:
  max_steps: 3
  callbacks:
    ema: {class_path: a.EMA, init_args: {decay: 0.5, warmup: true}}
    line: {class_path: a.Line}
"""
EMA, LINE = (
    {"class_path": "a.EMA", "init_args": {"decay": 0.5, "warmup": True}},
    {"class_path": "a.Line"},
)
STOP = {"class_path": "a.Stop"}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return path


def callbacks(words: list[str]) -> Any:
    """What Lightning is given last."""
    contents = [
        yaml.safe_load(text)
        for word, text in itertools.pairwise(words)
        if word == "--config" and "\n" in text
    ]
    assert all(isinstance(c.get("trainer", {}).get("callbacks", []), list) for c in contents)
    return contents[-1]["trainer"]["callbacks"]


def over(base: Path, text: str) -> list[str]:
    path = base.with_name("over.yaml")
    path.write_text(text)
    return ["fit", "--config", str(base), "--config", str(path)]


def test_names_become_lightnings_list_and_all_else_stays(base: Path) -> None:
    words = expand(["fit", "--config", str(base), "--model.lr=1"])
    assert callbacks(words) == [EMA, LINE] and words[-1] == "--model.lr=1"
    assert yaml.safe_load(words[2]) == {"trainer": {"max_steps": 3}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "{ema: {init_args: {decay: 0.9}}}",
            [{**EMA, "init_args": {"decay": 0.9, "warmup": True}}, LINE],
        ),
        ("{ema: null}", [LINE]),
        ("{stop: {class_path: a.Stop}}", [EMA, LINE, STOP]),
    ],
)
def test_a_file_changes_one_value_removes_and_adds(
    base: Path, text: str, expected: list[Any]
) -> None:
    assert callbacks(expand(over(base, f"trainer: {{callbacks: {text}}}"))) == expected
    extending = f"extends: base.yaml\ntrainer: {{callbacks: {text}}}"
    assert callbacks(expand(["fit", *over(base, extending)[3:]])) == expected


@pytest.mark.parametrize("added", ["[{class_path: a.Stop}]", "{class_path: a.Stop}"])
def test_lightnings_own_way_of_adding_still_adds(base: Path, added: str) -> None:
    assert callbacks(expand(over(base, f"trainer: {{callbacks+: {added}}}"))) == [EMA, LINE, STOP]
    words = expand(
        ["fit", "--config", str(base), "--trainer.callbacks+=a.Stop", "--trainer.callbacks.n=3"]
    )
    assert words[-2:] == ["--trainer.callbacks+=a.Stop", "--trainer.callbacks.n=3"]
    assert callbacks(words) == [EMA, LINE]


@pytest.mark.parametrize("option", ["init_args.decay", "decay"])
@pytest.mark.parametrize("form", [["={}"], ["", "{}"]])
def test_the_command_line_wins_wherever_it_stands(base: Path, option: str, form: list[str]) -> None:
    name, *value = [part.format("0.25") for part in form]
    words = [f"--trainer.callbacks.ema.{option}{name}", *value]
    for arguments in (
        ["fit", *words, "--config", str(base)],
        ["fit", "--config", str(base), *words],
    ):
        expanded = expand(arguments)
        assert callbacks(expanded)[0]["init_args"] == {"decay": 0.25, "warmup": True}
        assert not [word for word in expanded if word.startswith("--trainer.callbacks")]
    removed = expand(["fit", "--config", str(base), "--trainer.callbacks.ema=null"])
    assert callbacks(removed) == [LINE]


def test_a_list_replaces_all_names_as_it_always_did(base: Path) -> None:
    words = expand(over(base, "trainer: {callbacks: [{class_path: a.Stop}]}"))
    assert words[-1] == str(base.with_name("over.yaml"))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("{ema: 3}", [], "The callback 'ema' in .*over.yaml must be .* not 3"),
        ("{stop: {init_args: {n: 1}}}", [], "The callback 'stop' has no class"),
        (
            "{}",
            ["--trainer.callbacks.emma.decay=1"],
            "There is no callback 'emma': did you mean 'ema'",
        ),
        ("{}", ["--trainer.callbacks.zzz.decay=1"], "There is no callback 'zzz': use ema, line."),
    ],
)
def test_what_is_wrong_is_one_sentence(
    base: Path, text: str, options: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        expand([*over(base, f"trainer: {{callbacks: {text}}}"), *options])
    assert "\n" not in str(error.value)


def test_names_after_a_list_are_refused(base: Path) -> None:
    words = over(base, "trainer: {callbacks: [{class_path: a.Stop}]}")
    with pytest.raises(UserError, match=r"have names, and those in .*over.yaml are a list"):
        expand(["fit", *words[3:], *words[1:3]])
