"""Tables that a command prints, or writes into a document: between `<!-- NAME -->` and
`<!-- /NAME -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

Row = tuple[str, str]
"""What was measured, and what came of it."""


def tables_of(text: str) -> dict[str, str]:
    """What stands in a document's places, by their names."""
    return dict(re.findall(r"<!-- ([\w-]+) -->\n(.*?)<!-- /\1 -->", text, re.DOTALL))


def filled(text: str, tables: Mapping[str, str]) -> str:
    """A document with these tables in their places.

    Raises:
        KeyError: a table that the document has no place for.
    """
    for name in tables.keys() - tables_of(text).keys():
        raise KeyError(f"the document has no place <!-- {name} -->")
    for name, table in tables.items():
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        end = f"<!-- /{name} -->"
        text = f"{before}<!-- {name} -->\n{table.strip()}\n{end}{rest.partition(end)[2]}"
    return text


def write_into(path: Path, tables: Mapping[str, str]) -> None:
    """Put tables into their places of a file."""
    path.write_text(filled(path.read_text(), tables))


_HEAD = "| what | measured |\n|---|---|"


def table(rows: Iterable[Row]) -> str:
    """Rows in Markdown."""
    return "\n".join([_HEAD, *(f"| {name} | {value} |" for name, value in rows)])


def print_rows(rows: Iterable[Row]) -> None:
    """The same on the screen, each row as soon as it is known."""
    print(_HEAD)
    for name, value in rows:
        print(f"| {name} | {value} |", flush=True)
