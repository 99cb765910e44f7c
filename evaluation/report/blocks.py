"""What a report is made of, and how each part looks in Markdown, HTML and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from evaluation.report.table import Table, latex

STYLE = """
:root { color-scheme: light; } body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328;
max-width: 1080px; margin: 2rem auto; padding: 0 1rem; } h1 { font-size: 1.7rem; }
h2 { font-size: 1.25rem; margin-top: 2.2rem; border-bottom: 1px solid #d8dee4; }
h3 { font-size: 1.05rem; margin-bottom: .4rem; } table { border-collapse: collapse; margin: .6rem 0;
font-variant-numeric: tabular-nums; } th, td { padding: .25rem .8rem; text-align: right; }
th { border-bottom: 2px solid #8c959f; } td { border-bottom: 1px solid #eaeef2; }
th.text, td.text { text-align: left; }
th, td:not(.text) { white-space: nowrap; } tbody tr:hover td { background: #f6f8fa; }
tr.section td { text-align: left; font-weight: 600; background: #eef4fb; padding-top: .5rem; }
ul { color: #7d4e00; } img { max-width: 100%; border: 1px solid #d8dee4; border-radius: 4px; }
.note { color: #57606a; } figure { margin: .6rem 0; } figcaption { color: #57606a; }
.wide { overflow-x: auto; } summary { cursor: pointer; font-weight: 600; }
"""


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
    """A picture or chart, which only HTML shows.

    Attributes:
        html: safe HTML.
        caption: below it.
    """

    html: str
    caption: str


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


def to_html(blocks: Sequence[Block], title: str) -> str:
    """One page that needs no network and no script."""
    body = "\n".join(_html(block) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>{body}</body></html>\n"
    )


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


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Note):
        return f'<p class="note">{escape(block.text)}</p>'
    if isinstance(block, Warnings):
        return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in block.items)}</ul>"
    if isinstance(block, Figure):
        return f"<figure>{block.html}<figcaption>{escape(block.caption)}</figcaption></figure>"
    return f'<div class="wide">{block.html()}</div>'
