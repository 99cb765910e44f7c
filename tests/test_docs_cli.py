"""docs/cli.md says what the code does: exit codes and subcommands."""

from __future__ import annotations

import argparse
import re
import signal
from pathlib import Path

import pytest

from data_prep.__main__ import _parser as data_prep_parser
from evaluation.options import build_parser as evaluation_parser
from lightning_artv import cli, errors
from lightning_artv.errors import UserError
from lightning_artv.exit_codes import INTERRUPTED

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def rows(title: str) -> dict[str, str]:
    """First cell -> whole row of the first table below a title."""
    table = TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    return {line.split("|")[1].strip().strip("`"): line for line in lines}


def subcommands(parser: argparse.ArgumentParser) -> set[str]:
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return {name for action in actions for name in action.choices}


def test_every_error_has_its_exit_code_in_the_table() -> None:
    codes = rows("Exit codes")
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, UserError)
    ]
    assert len(kinds) >= 4
    for kind in kinds:
        assert f"`{kind.__name__}`" in codes[str(kind.exit_code)], kind
    assert INTERRUPTED == 128 + signal.SIGINT == 130 and "Ctrl-C" in codes["130"]
    for number in (signal.SIGTERM, signal.SIGUSR1):
        assert number.name in codes[str(128 + number)]
    named = set(re.findall(r"`(\w+Error)`", "".join(codes.values())))
    assert named == {kind.__name__ for kind in kinds}


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("`lightning`", {*cli.TRAINING, "generate", "export", "consolidate"}),
        ("`python -m data_prep`", subcommands(data_prep_parser())),
        ("`python -m evaluation`", subcommands(evaluation_parser())),
    ],
)
def test_every_subcommand_has_its_task_in_a_table(title: str, names: set[str]) -> None:
    assert rows(title).keys() == names


def test_the_readme_links_the_page_and_its_own_links_exist() -> None:
    assert "(docs/cli.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"\]\(([\w./-]+)\)", TEXT):
        assert (ROOT / "docs" / name).is_file(), name
