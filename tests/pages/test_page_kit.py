"""Pages are whole, escaped and offline; tables are the same in three languages."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest

from lightning_artv.errors import UserError
from lightning_artv.pages.chart import Line, curves
from lightning_artv.pages.page import inline, render, write_page
from lightning_artv.pages.table import Table, latex

BODY = '{% extends "base.html" %}{% block body %}<p>{{ text }}</p>{{ shown }}{% endblock %}'


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.html"
    path.write_text(BODY)
    return path


def test_texts_are_escaped_and_charts_and_tables_drawn(template: Path, tmp_path: Path) -> None:
    chart = curves("a < b", [1, 2], {"y": Line([1, 2])}, "x")
    write_page(tmp_path / "page.html", template, title="<T>", text="<b> & \udcff", shown=chart)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<title>&lt;T&gt;</title>" in page and "<p>&lt;b&gt; &amp; ?</p>" in page
    assert page.count("<svg") == page.count("</svg>") == 1 and "a &lt; b" in page
    assert "://" not in page and "<script" not in page and "prefers-color-scheme: dark" in page
    assert "<table>" in render(template, title="", text="", shown=Table(("a",), [("b",)]))


def test_a_name_that_is_not_given_is_an_error(template: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="'shown'"):
        render(template, title="t", text="x")


def test_a_place_that_cannot_be_written_is_one_sentence(template: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        write_page(tmp_path / "file" / "page.html", template, title="t", text="", shown="")


def test_pictures_are_part_of_the_page() -> None:
    assert inline(b"GIF89a", "gif") == "data:image/gif;base64,R0lGODlh"


def test_tables_escape_in_every_language() -> None:
    table = Table(("a|b", "50 %"), [("x_y & <z>", "1 ± 2")], {0: "s#1 <"})
    assert "| a\\|b | 50 % |" in table.markdown() and "| **s#1 <** |  |" in table.markdown()
    html = table.__html__()
    assert "<td class=text>x_y &amp; &lt;z&gt;</td><td>1 ± 2</td>" in html
    assert "<th class=text>a|b</th><th>50 %</th>" in html
    assert '<tr class="section"><td colspan="2">s#1 &lt;</td></tr>' in html
    tex = table.latex()
    assert "a|b & 50 \\% \\\\" in tex and "s\\#1" in tex
    assert "x\\_y \\& \\textless{}z\\textgreater{} & 1 $\\pm$ 2 \\\\" in tex
    assert latex("\\{~^}") == "\\textbackslash{}\\{\\textasciitilde{}\\textasciicircum{}\\}"


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="as long as its head"):
        Table(("a",), [("b", "c")])


def test_html_and_charts_are_made_nowhere_else() -> None:
    root = Path(__file__).parents[2]
    own = root / "lightning_artv" / "pages"
    files = [*root.glob("lightning_artv/**/*.py"), *root.glob("data_prep/**/*.py")]
    files += root.glob("evaluation/**/*.py")
    assert len(files) > 200 and own / "chart.py" in files
    made = r"<(svg|html|table|div|style|figure|p|h\d)[ >]|(import|from) (matplotlib|jinja2)\b"
    elsewhere = [p for p in files if not p.is_relative_to(own) and re.search(made, p.read_text())]
    assert elsewhere == []
