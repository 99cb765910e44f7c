"""Tables: the same rows give the same bytes, and a table is whole or absent."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import tables
from data_prep.measure.analyse import Analysis
from data_prep.tables import TableReader, TableWriter, columns_of, made_by, read_rows, write_rows
from lightning_artv.errors import DataError, UserError

SCHEMA = pa.schema([("key", pa.string()), ("score", pa.float64()), ("n", pa.int64())])
ROWS = [{"key": f"k{i}-ж", "score": None if i % 5 == 0 else i / 7, "n": i % 3} for i in range(25)]


def write(path: Path, pieces: list[int], rows: list[dict] = ROWS) -> bytes:
    with TableWriter(path, SCHEMA, {"step": "x"}) as writer:
        start = 0
        for size in [*pieces, len(rows)]:
            writer.write(rows[start : start + size])
            start += size
    return path.read_bytes()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=5))
def test_the_bytes_do_not_depend_on_how_rows_come(tmp_path_factory, pieces: list[int]) -> None:
    folder = tmp_path_factory.mktemp("t")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "ROW_GROUP", 10)
        assert write(folder / "a", pieces) == write(folder / "b", [])
        assert read_rows(folder / "a") == ROWS
        assert TableReader(folder / "a").groups == 3


def test_any_row_can_be_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROW_GROUP", 10)
    write(tmp_path / "a", [3])
    reader = TableReader(tmp_path / "a")
    assert len(reader) == 25
    assert [reader.row(n) for n in (24, 0, 9, 10, 20, 19)] == [
        ROWS[n] for n in (24, 0, 9, 10, 20, 19)
    ]
    for number in (-1, 25):
        with pytest.raises(IndexError):
            reader.row(number)
    assert TableReader(tmp_path / "a", ["n"]).row(4) == {"n": 1}


def test_no_rows_are_a_table_too(tmp_path: Path) -> None:
    write_rows(tmp_path / "a", [], SCHEMA, {"step": "x"})
    assert read_rows(tmp_path / "a") == []
    assert made_by(tmp_path / "a") == {"step": "x"}


def test_an_error_on_the_way_leaves_the_old_table_and_nothing_else(tmp_path: Path) -> None:
    before = write(tmp_path / "a", [])
    with pytest.raises(RuntimeError), TableWriter(tmp_path / "a", SCHEMA, {}) as writer:
        writer.write(ROWS)
        raise RuntimeError
    assert (tmp_path / "a").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_column_that_the_table_lacks_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="scroe"),
        TableWriter(tmp_path / "a", SCHEMA, {}) as writer,
    ):
        writer.write([{"key": "k", "scroe": 1.0}])


def test_what_is_no_table_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no table"):
        TableReader(tmp_path / "none")
    (tmp_path / "text").write_text("PAR1 no")
    with pytest.raises(DataError, match="no Parquet table"):
        TableReader(tmp_path / "text")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign")
    with pytest.raises(UserError, match="not written by data_prep"):
        made_by(tmp_path / "foreign")


def test_columns_of_a_dataclass() -> None:
    types = {field.name: field.type for field in columns_of(Analysis)}
    assert types["status"] == pa.string()
    assert types["motion"] == pa.float64()
    assert types["frames"] == pa.int64()
    assert types["variable_fps"] == pa.bool_()
    assert types["cuts"] == pa.list_(pa.float64())
