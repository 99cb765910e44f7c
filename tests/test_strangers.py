"""Small things that somebody new to the commands meets first."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.__main__ import main as data_prep
from evaluation.sets.folder import read_captions
from lightning_artv.errors import UserError
from lightning_artv.generation.options import build_parser
from lightning_artv.tables import read_table


def test_shards_of_a_table_without_decisions_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "motion.parquet"
    pq.write_table(pa.table({"key": ["a"]}), table)
    assert data_prep(["shards", str(table), str(tmp_path / "out")]) == 2
    assert f"{table} is no selection: run `python -m data_prep select`" in capsys.readouterr().err


@pytest.mark.parametrize(("mark", "name"), [(",", "comma"), (";", "semicolon"), ("\t", "tab")])
def test_a_field_too_many_names_the_tables_own_delimiter(
    tmp_path: Path, mark: str, name: str
) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text(f"file_name{mark}text\na.mp4{mark}one{mark}two\n")
    with pytest.raises(UserError, match=f"quote the field that holds a {name}"):
        read_table(path, ("file_name", "text"))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("coding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_wide_text_without_a_mark_is_told_so(tmp_path: Path, suffix: str, coding: str) -> None:
    path = tmp_path / f"metadata{suffix}"
    path.write_bytes('{"file_name": "a.mp4", "text": "hi"}\n'.encode(coding))
    with pytest.raises(UserError, match="is not UTF-8: save it as UTF-8"):
        read_table(path, ("file_name", "text"))


def test_captions_of_evaluation_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text('file_name,text\na.mp4,"\ufeffone\r\n two\0three"\n')
    assert read_captions(path) == {"a.mp4": ("one two three",)}


def test_every_option_of_generate_has_words() -> None:
    actions = build_parser()._actions
    assert not [a.option_strings for a in actions if a.option_strings and not a.help]
