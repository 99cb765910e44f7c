"""One table, three languages: Markdown, HTML and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from evaluation.result import MEASURED, Measurement

EMPTY = "–"


@dataclass(frozen=True)
class Table:
    """Cells of text.

    Attributes:
        head: of the columns.
        rows: cells.
        sections: row index -> heading above that row.
        left: how many leading columns hold text, which is aligned on the left.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    sections: Mapping[int, str] = field(default_factory=dict)
    left: int = 1

    def __post_init__(self) -> None:
        if any(len(row) != len(self.head) for row in self.rows):
            raise ValueError("Every row of a table must be as long as its head.")

    def markdown(self) -> str:
        """A pipe table."""
        rule = ["---"] * self.left + ["---:"] * (len(self.head) - self.left)
        lines: list[Sequence[str]] = [self.head, rule]
        for index, row in enumerate(self.rows):
            if index in self.sections:
                lines.append([f"**{self.sections[index]}**"] + [""] * (len(row) - 1))
            lines.append(row)
        return "".join(f"| {' | '.join(_pipe(cell) for cell in row)} |\n" for row in lines)

    def html(self) -> str:
        """A `<table>`."""
        head = self._html_row(self.head, "th")
        body = []
        for index, row in enumerate(self.rows):
            if index in self.sections:
                text = escape(self.sections[index])
                body.append(f'<tr class="section"><td colspan="{len(row)}">{text}</td></tr>')
            body.append(self._html_row(row, "td"))
        return f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"

    def _html_row(self, row: Sequence[str], tag: str) -> str:
        cells = [
            f"<{tag}{' class=text' if column < self.left else ''}>{escape(cell)}</{tag}>"
            for column, cell in enumerate(row)
        ]
        return f"<tr>{''.join(cells)}</tr>"

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


def number(measurement: Measurement | None) -> str:
    """A measurement as a cell: `12.34 ± 0.56`, `skipped`, or a dash where it was not asked for."""
    if measurement is None:
        return EMPTY
    if measurement.status != MEASURED or measurement.value is None:
        return measurement.status
    value = digits(measurement.value)
    return value if measurement.sd is None else f"{value} ± {digits(measurement.sd)}"


def digits(value: float) -> str:
    """Two digits behind the point from 10 on, four below."""
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"


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


def latex(text: str) -> str:
    """Text for LaTeX, every special character escaped."""
    return "".join(LATEX.get(character, character) for character in text)


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(latex(cell) for cell in cells) + " \\\\"


def _pipe(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")
