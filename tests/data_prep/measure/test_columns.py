"""Adding columns to a table: resumed, up to date, refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from prep_jobs import Lengths
from prep_videos import listing, map_here, stops_after

from data_prep.measure import columns as steps
from data_prep.measure.columns import add_columns
from data_prep.options import EngineOptions
from data_prep.tables import made_by, read_rows
from data_prep.tables.log import read_log
from lightning_artv.errors import UserError

ROWS = [
    {"key": f"v{i}", "path": "x" * i, "caption": "bad" if i == 5 else "c", "size_bytes": i}
    for i in range(9)
]
ROWS[3] |= {"status": "failed", "error_kind": "missing_file", "error": "gone"}


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "map_rows", map_here)


def add(folder: Path, rows=ROWS, options=None, name="out.parquet", **job_or_overwrite) -> bool:
    overwrite = job_or_overwrite.pop("overwrite", False)
    table = listing(folder / "in.parquet", rows)
    job = Lengths(**job_or_overwrite)
    out = folder / name
    chosen = options or {"a": 1}
    return add_columns(table, out, job, chosen, "length", EngineOptions(), overwrite, chunk=4)


def test_rows_keep_their_columns_and_failures_pass_through(tmp_path: Path) -> None:
    assert add(tmp_path)
    rows = read_rows(tmp_path / "out.parquet")
    assert [row["key"] for row in rows] == [row["key"] for row in ROWS]
    assert [row["length"] for row in rows] == [0, 1, 2, None, 4, None, 6, 7, 8]
    assert (rows[3]["error_kind"], rows[5]["error_kind"]) == ("missing_file", "no_video")
    assert [row["status"] for row in rows].count("ok") == 7
    assert rows[5]["size_bytes"] == 5  # what the result does not know stays
    assert not (tmp_path / "out.parquet.parts").exists()
    assert made_by(tmp_path / "out.parquet")["options"] == {"a": 1}
    (session,) = read_log(tmp_path / "out.parquet")
    assert session["count"] == 8


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    assert add(tmp_path, marks=str(marks))
    assert not add(tmp_path, marks=str(marks))
    assert {path.read_text() for path in marks.iterdir()} == {"x"}
    assert len(list(marks.iterdir())) == 8


def test_an_interrupted_run_goes_on_after_its_last_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()

    monkeypatch.setattr(steps, "map_rows", stops_after(6))
    with pytest.raises(KeyboardInterrupt):
        add(tmp_path, marks=str(marks))
    assert not (tmp_path / "out.parquet").exists()
    monkeypatch.setattr(steps, "map_rows", map_here)
    with pytest.raises(UserError, match=r"parts was begun with another a \(1, not 2\)"):
        add(tmp_path, options={"a": 2}, marks=str(marks))
    assert add(tmp_path, marks=str(marks))
    assert add(tmp_path, name="fresh.parquet")
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "fresh.parquet").read_bytes()
    again = sorted(path.name for path in marks.iterdir() if path.read_text() == "xx")
    assert again == ["v4", "v5", "v6", "v7"]  # the second part was lost, the first was not


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": {"a": 2}}, r"another a \(1, not 2\); add --overwrite"),
        ({"rows": ROWS[:-1]}, "another input; add --overwrite"),
        ({"rows": [*ROWS[:-1], {**ROWS[-1], "size_bytes": 99}]}, "another input"),
    ],
)
def test_another_option_or_input_is_noticed(tmp_path: Path, change: dict, words: str) -> None:
    add(tmp_path)
    before = (tmp_path / "out.parquet").read_bytes()
    with pytest.raises(UserError, match=words):
        add(tmp_path, **change)
    assert (tmp_path / "out.parquet").read_bytes() == before
    assert add(tmp_path, **change, overwrite=True)
    assert not add(tmp_path, **change)
    assert (tmp_path / "out.parquet").read_bytes() != before
