"""Tables that a system's paper prints, beside what was measured of that system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from evaluation.compare import title, under
from evaluation.report.blocks import Block, Heading, Note
from evaluation.report.cells import number
from evaluation.result import Result
from lightning_artv.pages.table import EMPTY, Table

FOLDER = Path(__file__).parents[1] / "published"


@dataclass(frozen=True)
class PaperTable:
    """A table as printed.

    Attributes:
        title: title, with the real set.
        head: names of its columns.
        metrics: (set, metric) of each column but the first, for measured rows; empty for none.
        rows: cells; None where no number is printed.
    """

    title: str
    head: tuple[str, ...]
    metrics: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str | None, ...], ...]


@dataclass(frozen=True)
class Paper:
    """What a paper prints of its own system.

    Attributes:
        system: its name; results whose name begins with it are measured rows.
        source: the paper.
        notes: what must be known to read its tables.
        tables: tables in its order.
    """

    system: str
    source: str
    notes: tuple[str, ...]
    tables: tuple[PaperTable, ...]


def read_papers() -> list[Paper]:
    """All papers with tables of their own in `evaluation/published`; Table 1 of ART•V is apart."""
    found = (yaml.safe_load(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.yaml")))
    return [
        Paper(
            content["system"],
            content["source"],
            tuple(content["notes"]),
            tuple(
                PaperTable(
                    table["title"],
                    tuple(table["head"]),
                    tuple((data, metric) for data, metric in table["metrics"]),
                    tuple(map(tuple, table["rows"])),
                )
                for table in content["tables"]
            ),
        )
        for content in found
        if "tables" in content
    ]


def paper_tables(results: Sequence[Result]) -> list[Block]:
    """The tables of each paper whose system has results."""
    blocks: list[Block] = []
    for paper in read_papers():
        own = [result for result in results if title(result).startswith(paper.system)]
        if own:
            blocks.append(Heading(2, f"{paper.system} as its paper reports it"))
            blocks += [_table(table, paper.source, own) for table in paper.tables]
            blocks += [Note(note) for note in paper.notes]
    return blocks


def _table(table: PaperTable, source: str, results: Sequence[Result]) -> Table:
    rows = [tuple(EMPTY if cell is None else cell for cell in row) for row in table.rows]
    sections = {0: f"{table.title}. Published: {source}"}
    wanted = [r for r in results if any(data == r.dataset for data, _ in table.metrics)]
    if wanted:
        said = dict.fromkeys(under(result) for result in wanted)
        sections[len(rows)] = "; ".join(["Measured here", *said])
    for model in dict.fromkeys(title(result) for result in wanted):
        own = {r.dataset: r for r in wanted if title(r) == model}
        cells = (number(own[d].of(m)) if d in own else EMPTY for d, m in table.metrics)
        rows.append((model, *cells))
    return Table(table.head, tuple(rows), sections, left=1)
