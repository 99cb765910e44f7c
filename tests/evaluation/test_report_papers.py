"""What a system's own paper prints, beside what was measured of that system."""

from __future__ import annotations

from pathlib import Path

from test_report import result

from evaluation.report.papers import paper_tables, read_papers
from evaluation.report.write import write_report


def test_videogens_tables_are_as_printed() -> None:
    (paper,) = read_papers()
    zero_shot, tuned, msrvtt, ablation = paper.tables
    rows = [{row[0]: row[1:] for row in table.rows} for table in paper.tables]
    assert rows[0]["VideoGen"] == ("71.61 ± 0.24", "554 ± 23")
    assert rows[0]["CogVideo (English)"] == ("25.27", "701.59")
    assert rows[1]["VideoGen"] == ("82.78 ± 0.34", "345 ± 15") and rows[1]["LVDM"] == (None, "372")
    assert rows[2]["VideoGen"] == ("0.3127",) and rows[2]["GODIVA"] == ("0.2402",)
    assert ablation.rows == (("without", "0.2534", "26.64"), ("with", "0.3127", "71.61"))
    assert [len(table.rows) for table in (zero_shot, tuned, msrvtt)] == [4, 9, 6]
    for table in paper.tables:
        assert all(len(row) == len(table.head) for row in table.rows)
        assert not table.metrics or len(table.metrics) == len(table.head) - 1


def test_they_are_shown_beside_measured_rows_of_that_system_alone(tmp_path: Path) -> None:
    assert paper_tables([result()]) == []
    write_report([result(name="VideoGen", mode="text-to-image")], tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "VideoGen as its paper reports it" in text
    table = text[text.index("Table 1, UCF-101, zero-shot") :]
    assert "71.61 ± 0.24" in table
    measured = next(line for line in table.splitlines() if "123.46" in line)
    assert "VideoGen" in measured and "skipped" in measured
    assert "0.3127 both for 59,800 captions" in text
