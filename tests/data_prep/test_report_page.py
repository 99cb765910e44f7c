"""The data report says every video's fate, shows thresholds and survives what cannot be shown."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_prep.report import page


class Reader:
    """Stands for a table of scores."""

    class schema:  # noqa: N801
        names = ("motion", "key")

    @staticmethod
    def row(number: int) -> dict[str, object]:
        error = "broken <b>" if number == 1 else None
        return {
            "path": "none",
            "key": f"v{number}",
            "caption": "a < b",
            "motion": 1.5,
            "error": error,
        }


@pytest.fixture
def html(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    outcomes = {
        "kept": Counter({"": 3}),
        "filtered": Counter({"motion below 2": 1500}),
        "failed": Counter({"no video": 2}),
    }
    codes = np.array([0, 1, 0, 2])
    sessions = [{"count": 1200, "seconds": 4.0, "engine": "local", "processes": 2}]
    for name, value in {
        "totals": lambda path: outcomes,
        "TableReader": lambda path: Reader,
        "_reasons": lambda reader: (codes, ["", "motion below 2", "no video"]),
        "made_by": lambda path: {"options": {"motion": (2, None), "filters": {}}},
        "_values": lambda reader, name: np.array([1.0, 2.0, 3.0, 9.0]),
        "read_log": lambda path: sessions if path.name == "motion.parquet" else [],
    }.items():
        monkeypatch.setattr(page, name, value)
    return page.write_report(tmp_path).read_text(encoding="utf-8")


def test_every_outcome_has_its_count_and_share(html: str) -> None:
    text = " ".join(re.sub("<[^>]+>", " ", html).split())
    assert "1,505 videos, each accounted for." in text
    for said in ("3 kept 0.2%", "1,500 filtered 99.7%", "2 failed 0.1%"):
        assert said in text
    assert "filtered motion below 2 1,500 failed no video 2" in text
    assert "Errors by kind kind videos no video 2" in text
    assert "motion.parquet local × 2 1,200 4.0 300.00" in text
    assert [int(n) for n in re.findall(r"flex:(\d+)", html)] == [3, 1500, 2]


def test_examples_are_escaped_and_those_without_a_picture_say_so(html: str) -> None:
    assert html.count("no picture") == 4 and "a &lt; b" in html and "broken &lt;b&gt;" in html
    assert "<h2>Dropped: motion below 2 <small>1</small></h2>" in html
    assert "v1" in html.split("Dropped: motion below 2")[1].split("Dropped: no video")[0]
    assert "<script" not in html and "://" not in html


def test_the_threshold_is_drawn_in_the_colour_that_is_named(html: str) -> None:
    (svg,) = re.findall("<svg.*?</svg>", html)
    assert ">\u00a02\u00a0<" in svg and f"stroke: {page.BOUND}" in svg
    assert f'class="dot line" style="color: {page.BOUND}"' in html
    assert all(
        f"fill: {color}" in svg and f"background: {color}" in html for color in page_colors()
    )


def page_colors() -> tuple[str, str]:
    return page.ALL, page.KEPT
