"""One table, three languages: Markdown, HTML and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lightning_artv.pages.page import HERE, render

EMPTY = "–"

LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "±": "$\\pm$",
    "×": "$\\times$",
    "↓": "$\\downarrow$",
    "↑": "$\\uparrow$",
    "∞": "$\\infty$",
    "•": "$\\bullet$",
    "–": "--",
}


@dataclass(frozen=True)
class Table:
    """Cells of text.

    Attributes:
        head: titles of the columns.
        rows: cells.
        sections: row index -> heading above that row.
        left: number of leading columns that hold text, which is aligned on the left.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    sections: Mapping[int, str] = field(default_factory=dict)
    left: int = 1

    def __post_init__(self) -> None:
        if any(len(row) != len(self.head) for row in self.rows):
            raise ValueError("Every row of a table must be as long as its head.")

    def __html__(self) -> str:
        """A `<table>` that scrolls where it is too wide; templates call this."""
        return render(HERE / "table.html", table=self)

    def markdown(self) -> str:
        """A pipe table."""
        rule = ["---"] * self.left + ["---:"] * (len(self.head) - self.left)
        lines: list[Sequence[str]] = [self.head, rule]
        for index, row in enumerate(self.rows):
            if index in self.sections:
                lines.append([f"**{self.sections[index]}**"] + [""] * (len(row) - 1))
            lines.append(row)
        return "".join(f"| {' | '.join(_pipe(cell) for cell in row)} |\n" for row in lines)

    def latex(self) -> str:
        """A `tabular` for the booktabs package."""
        columns = "l" * self.left + "r" * (len(self.head) - self.left)
        lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule"]
        lines += [_latex_row(self.head), "\\midrule"]
        for index, row in enumerate(self.rows):
            if index in self.sections:
                rule = ["\\midrule"] if index else []
                span = f"\\multicolumn{{{len(row)}}}{{l}}"
                lines += [*rule, f"{span}{{\\textit{{{latex(self.sections[index])}}}}} \\\\"]
            lines.append(_latex_row(row))
        return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def latex(text: str) -> str:
    """Text for LaTeX, every special character escaped."""
    return "".join(LATEX.get(character, character) for character in text)


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(latex(cell) for cell in cells) + " \\\\"


def _pipe(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")
