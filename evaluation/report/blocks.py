"""What a report is made of; `page.html` shows it as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lightning_artv.pages.chart import Chart
from lightning_artv.pages.table import Table, latex


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 to 3."""

    level: int
    text: str


@dataclass(frozen=True)
class Note:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Warnings:
    """A list of what a reader must know."""

    items: Sequence[str]


@dataclass(frozen=True)
class Figure:
    """A chart, or a picture's address, which only HTML shows, with the caption below it."""

    caption: str
    chart: Chart | None = None
    picture: str = ""


Block: TypeAlias = Heading | Note | Warnings | Figure | Table


def to_markdown(blocks: Sequence[Block]) -> str:
    """The blocks one below another, without figures."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {block.text}\n")
        elif isinstance(block, Note):
            parts.append(f"{block.text}\n")
        elif isinstance(block, Warnings):
            parts.append("".join(f"- {item}\n" for item in block.items))
        elif isinstance(block, Table):
            parts.append(block.markdown())
    return "\n".join(parts)


def to_latex(blocks: Sequence[Block]) -> str:
    """The tables, for the booktabs package; all else as comments."""
    parts = ["% needs \\usepackage{booktabs}\n"]
    for block in blocks:
        if isinstance(block, Table):
            parts.append(block.latex())
        elif isinstance(block, Heading | Note):
            parts.append(f"% {latex(block.text)}\n")
        elif isinstance(block, Warnings):
            parts.append("".join(f"% - {latex(item)}\n" for item in block.items))
    return "\n".join(parts)
