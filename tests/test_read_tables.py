"""Tables as people have them: read back as they are, or refused in one sentence."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_artv.errors import UserError
from lightning_artv.tables import LONGEST_FIELD, BadRow, read_table, rows

COLUMNS = ("file_name", "text")


def written(folder: Path, data: bytes | str, name: str = "metadata.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def content(path: Path) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for _, row in read_table(path, COLUMNS)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_encodings_and_line_ends(
    tmp_path: Path, delimiter: str, coding: str, end: str
) -> None:
    lines = ["file_name,text", 'a.mp4,"one, two; and\tthree"', "", "é.mp4,二"]
    head, tail = lines[:2], lines[2:]
    text = end.join([line.replace(",", delimiter, 1) for line in head + tail]) + end
    expected = [("a.mp4", "one, two; and\tthree"), ("é.mp4", "二")]
    assert content(written(tmp_path, text.encode(coding))) == expected
    assert content(written(tmp_path, gzip.compress(text.encode(coding)))) == expected


@pytest.mark.parametrize(
    "header", ["File Name,TEXT", " file_name , text ", "file-name,Text", '"filename","text"']
)
def test_a_header_may_be_spelt_otherwise(tmp_path: Path, header: str) -> None:
    assert content(written(tmp_path, f"\n{header}\na.mp4,one\n")) == [("a.mp4", "one")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("video,caption\na,b\n", "lacks the columns file_name, text; its first line is to name"),
        ("video,caption\na,b\n", "and is 'video,caption'"),
        ("file_name|text\na|b\n", "and is 'file_name|text'"),
        ("", "and is empty"),
        ("file_name,text,Text\n", "lists"),  # the exact spelling counts: nothing is refused
        ("file_name,text,text\na,b,c\n", "has the column text twice"),
        ('file_name,"text\na,b\n', "lacks the columns file_name, text"),
        ("file_name,text\na,b".encode("utf-16-le"), "is not UTF-8"),
        (b"\xe9,text\n", "is not UTF-8"),
        (b"\xff\xfef", "is not UTF-16-LE text"),
        (b"PK\x03\x04xyz", "an Excel workbook, not a text: unpack it, or save the sheet as CSV"),
        (gzip.compress(b"file_name,text\n" * 999, mtime=0)[:-20], "is damaged"),
        (b"\x1f\x8b\x08\x00", "is damaged"),
        (b"PAR1 and no more", "is a damaged Parquet table"),
        (b"BZh91AY", "is a bzip2 archive"),
    ],
)
def test_what_is_no_such_table_is_one_sentence(
    tmp_path: Path, data: bytes | str, words: str
) -> None:
    path = written(tmp_path, data)
    if words == "lists":
        assert content(path) == []
        return
    with pytest.raises(UserError) as error:
        read_table(path, COLUMNS)
    assert words in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_missing_table_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path / "none.csv", COLUMNS)
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path, COLUMNS)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (
            "a.mp4,a man, who skis, fast",
            "4 fields and the header 2: quote the field",
        ),
        ("a.mp4", "1 field and the header 2: write the missing"),
        ('a.mp4,"a man', "a quote that opens in this row is not closed"),
        ('a.mp4,"a "red" car"', "double each quote"),
        ('"a.mp4,one', "is not closed"),
    ],
)
def test_a_bad_row_costs_itself_only(tmp_path: Path, bad: str, words: str) -> None:
    data = f'file_name,text\n0.mp4,"two\nlines"\n{bad}\nb.mp4,two\nc.mp4,"three, too"\n'
    path = written(tmp_path, data)
    found = list(rows(path, COLUMNS))
    kept = [item[1]["file_name"] for item in found if not isinstance(item, BadRow)]
    assert kept == ["0.mp4", "b.mp4", "c.mp4"]
    (problem,) = [item for item in found if isinstance(item, BadRow)]
    assert problem.line == 4
    assert words in problem.reason
    with pytest.raises(UserError, match="line 4: ") as error:
        read_table(path, COLUMNS)
    assert words in str(error.value)


def test_every_bad_row_is_counted(tmp_path: Path) -> None:
    path = written(tmp_path, 'file_name,text\na,b,c\nd,"e\nf,g\nh\n')
    assert [i.line for i in rows(path, COLUMNS) if isinstance(i, BadRow)] == [2, 3, 5]
    with pytest.raises(UserError, match=r"line 2: .* \(2 more rows have such faults\)\.$"):
        read_table(path, COLUMNS)


def test_long_fields_are_read_and_endless_ones_named(tmp_path: Path) -> None:
    path = written(tmp_path, f'file_name,text\na,{"x" * 200_000}\nb,"{"y" * 200_000}"\n')
    assert [len(text) for _, text in content(path)] == [200_000, 200_000]
    path = written(tmp_path, f"file_name,text\na,{'x' * (LONGEST_FIELD + 1)}\nb,c\n")
    with pytest.raises(UserError, match="line 2: a field has more than 1,048,576 characters"):
        read_table(path, COLUMNS)


def test_bytes_in_another_encoding_are_found_in_their_row(tmp_path: Path) -> None:
    path = written(tmp_path, b"file_name,text\na,b\nc,caf\xe9\n")
    assert [item[0] for item in rows(path, COLUMNS) if not isinstance(item, BadRow)] == [2, 3]
    with pytest.raises(UserError, match="line 3: its text is not UTF-8"):
        read_table(path, COLUMNS)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "no JSON"),
        ("[1]", "no JSON object"),
        ('{"file_name": "a"}', "text is missing"),
        ('{"text": null}', "file_name and text are missing"),
        ('{"file_name": "a", "text": "b", "text": "c"}', "the key 'text' is there twice"),
        ('{"file_name": "a", "text": "\\ud83d"}', "its text is not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "integer"),
    ],
)
def test_a_bad_line_of_json_is_named(tmp_path: Path, line: str, words: str) -> None:
    good = json.dumps({"File_Name": "é", "text": "ü", "n": 1})
    path = written(tmp_path, f"\ufeff{good}\r\n\r\n{line}\n{good}\n", "metadata.jsonl")
    assert len(list(rows(path, COLUMNS))) == 3
    with pytest.raises(UserError, match=r"metadata\.jsonl, line 3: ") as error:
        read_table(path, COLUMNS)
    assert words in str(error.value)


def test_parquet_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    table = pa.table({"File Name": [7, 8, None], "text": ["a", None, "c"], "x": [[1], [2], [3]]})
    path = tmp_path / "metadata.csv"
    pq.write_table(table, path)
    found = list(rows(path, COLUMNS, ("none",)))
    assert found == [
        (1, {"file_name": "7", "text": "a"}),
        BadRow(2, "text is missing"),
        BadRow(3, "file_name is missing"),
    ]
    broken = pa.array([b"\xff"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"file_name": ["a"], "text": broken}), path)
    with pytest.raises(UserError, match="line 1: its text is not UTF-8"):
        read_table(path, COLUMNS)


def as_csv(table: list[tuple[str, str]], delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerows([COLUMNS, *table])
    return text.getvalue().encode()


def as_json(table: list[tuple[str, str]]) -> bytes:
    lines = [json.dumps(dict(zip(COLUMNS, row, strict=True))) for row in table]
    return "\n".join(lines).encode()


def as_parquet(table: list[tuple[str, str]]) -> bytes:
    file = io.BytesIO()
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in table]
    pq.write_table(pa.Table.from_pylist(rows, schema), file)
    return file.getvalue()


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
WRITERS: dict[str, tuple[str, Callable[[list[tuple[str, str]]], bytes]]] = {
    "csv": ("metadata.csv", as_csv),
    "semicolon": ("metadata.csv", lambda table: as_csv(table, ";")),
    "tsv": ("metadata.tsv", lambda table: as_csv(table, "\t")),
    "csv.gz": ("metadata.csv.gz", lambda table: gzip.compress(as_csv(table), 1)),
    "jsonl": ("metadata.jsonl", as_json),
    "jsonl.gz": ("metadata.jsonl.gz", lambda table: gzip.compress(as_json(table), 1)),
    "parquet": ("metadata.parquet", as_parquet),
}


@pytest.mark.parametrize("kind", WRITERS)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(table=st.lists(st.tuples(texts, texts), max_size=5))
def test_any_table_comes_back_as_it_was_written(
    tmp_path: Path, kind: str, table: list[tuple[str, str]]
) -> None:
    name, write = WRITERS[kind]
    assert content(written(tmp_path, write(table), name)) == table


cells = st.text(st.sampled_from("a1é\"',;\t\n\r\\ \0"), max_size=6)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None
)
@given(
    lines=st.lists(st.lists(cells, max_size=4).map(",".join), max_size=6),
    coding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin1", "utf-16-le"]),
    name=st.sampled_from(["m.csv", "m.jsonl"]),
)
def test_any_file_is_rows_and_bad_rows_or_one_sentence(
    tmp_path: Path, lines: list[str], coding: str, name: str
) -> None:
    path = written(tmp_path, "\n".join(["file_name,text", *lines]).encode(coding), name)
    try:
        found = list(rows(path, COLUMNS))
    except UserError as error:
        assert "\n" not in str(error)
        return
    starts = [item.line if isinstance(item, BadRow) else item[0] for item in found]
    assert starts == sorted(set(starts))  # no row twice
    # no visible character is lost: each is in a row, or its line is in or after a bad one
    if not any(isinstance(item, BadRow) for item in found) and name == "m.csv":
        kept = "".join("".join(row.values()) for _, row in found)  # type: ignore[union-attr]
        whole = "".join(lines)
        for character in "a1'\\":
            assert kept.count(character) == whole.count(character)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None
)
@given(data=st.binary(max_size=80), name=st.sampled_from(["m.csv", "m.jsonl", "m.parquet"]))
def test_any_bytes_are_no_traceback(tmp_path: Path, data: bytes, name: str) -> None:
    for head in (b"", b"file_name,text\n", b"\x1f\x8b\x08", b"PAR1", b"\xff\xfe"):
        try:
            read_table(written(tmp_path, head + data, name), COLUMNS)
        except UserError as error:
            assert "\n" not in str(error)
