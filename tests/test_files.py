"""Texts, lists, YAML, JSON and names as people write them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_artv.errors import UserError
from lightning_artv.files import (
    decode_text,
    is_blank,
    one_line,
    parse_json,
    read_json,
    read_lines,
    read_text,
    read_yaml,
)
from lightning_artv.generation.storyboard import read_storyboard
from lightning_artv.names import Names, find_file


def written(folder: Path, data: bytes, name: str = "file.txt") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_same_text_comes_from_each_encoding_and_line_end(
    tmp_path: Path, coding: str, end: str
) -> None:
    text = "été 🎬" + end + "二" + end
    mark = "\ufeff" if coding in ("utf-16-le", "utf-16-be") else ""
    assert read_text(written(tmp_path, (mark + text).encode(coding))) == "été 🎬\n二\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a\ncaf\xe9\n", "is not UTF-8 text: byte 5 (line 2) is 0xe9; save it as UTF-8"),
        (b"\xef\xbb\xbfcaf\xe9", "byte 6 (line 1) is 0xe9"),
        (b"\xff\xfea", "is not UTF-16 text: byte 2 (line 1) is 0x61; save it as UTF-8."),
        ("ab".encode("utf-32-be"), "NUL character"),
        ("\ufeffab".encode("utf-32-be"), "is UTF-32, not a text: save it as UTF-8, such as"),
        ("a\nb".encode("utf-16-le"), "has a NUL character at byte 1: save it as UTF-8"),
        ("ab".encode("utf-32"), "NUL character"),
        (b"\x1f\x8b\x08\x00\xff", "is a gzip archive, not a text: unpack it with gunzip"),
        (b"PAR1\x00\x01\xff", "is a Parquet table"),
        (b"PK\x03\x04\x00\xff", "an Excel workbook"),
        (b"PAR1\x00\x01", "is a Parquet table"),
    ],
)
def test_what_is_no_text_is_named_with_its_place_and_fix(
    tmp_path: Path, data: bytes, words: str
) -> None:
    path = written(tmp_path, data)
    with pytest.raises(UserError) as error:
        read_text(path, "storyboard")
    assert str(error.value).startswith(f"The storyboard '{path}' ")
    assert words in str(error.value)
    assert str(error.value).count("\n") == 0


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no prompts file '.*none.txt'"):
        read_text(tmp_path / "none.txt", "prompts file")
    with pytest.raises(UserError, match="is a folder"):
        read_text(tmp_path, "prompts file")
    with pytest.raises(UserError, match="cannot be read"):
        read_text("a\0b", "prompts file")


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_text_or_one_sentence(data: bytes) -> None:
    try:
        text = decode_text(data, "The file 'a'")
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert "\r" not in text
        assert "\0" not in text
        assert not text.startswith("\ufeff") or data.startswith(b"\xef\xbb\xbf" * 2)
        text.encode("utf-8")


def test_lines_leave_out_blank_ones_and_comments(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf a cat \r\n\r\n# a comment\r\n\\# a sign\r\n  #another\r\nroom #5\r\n"
    assert read_lines(written(tmp_path, data)) == ["a cat", "# a sign", "room #5"]


@pytest.mark.parametrize("coding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_marks_of_joined_files_are_no_text(tmp_path: Path, coding: str) -> None:
    joined = "\ufeff\ufeffa\r\n" + "\ufeff# none\n" + "\ufeffb\ufeffc\n\ufeff\n"
    assert read_lines(written(tmp_path, joined.encode(coding))) == ["a", "b\ufeffc"]


@pytest.mark.parametrize("blank", ["", " \t", "\xa0", "\u200b", "\ufeff", "\x07", "\u2060 \u200d"])
def test_what_cannot_be_seen_is_blank(tmp_path: Path, blank: str) -> None:
    assert is_blank(blank) and one_line(blank) == ""
    assert not is_blank(f"{blank}.")
    assert read_lines(written(tmp_path, f"a\n{blank}\nb".encode())) == ["a", "b"]
    board = written(tmp_path, json.dumps([{"prompt": blank, "frames": 1}]).encode())
    with pytest.raises(UserError, match="'prompt' is empty"):
        read_storyboard(board)


def test_only_line_ends_end_a_line(tmp_path: Path) -> None:
    path = written(tmp_path, "a\u2028b\x0cc\x85d\ne".encode())
    assert read_lines(path) == ["a\u2028b\x0cc\x85d", "e"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- prompt: a\n  frames: 2\n  prompt: b\n", "the key 'prompt' is there twice"),
        ("- prompt: 2020-13-45\n", "month must be in 1..12"),
        ('- prompt: "\\ud800"\n', "half of a surrogate pair"),
        ("a: [1", "expected"),
        ("!!python/object:os.system {}", "could not determine a constructor"),
        ("[" * 3000, "recursion"),
        ("- " + "9" * 5000, "integer string"),
    ],
)
def test_yaml_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = written(tmp_path, text.encode())
    with pytest.raises(UserError) as error:
        read_yaml(path, "storyboard")
    assert str(error.value).startswith(f"The storyboard '{path}' is not YAML: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_yaml_merges_are_no_duplicates(tmp_path: Path) -> None:
    text = "a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, x: 3}\n"
    content = read_yaml(written(tmp_path, text.encode("utf-16")))
    assert content == {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 3}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ('{"a": {"b": 1, "b": 1}}', "the key 'b' is there twice"),
        ('{"a": "\\uD83C"}', "\\ud83c is half of a surrogate pair"),
        ('{"\\udc00": 1}', "half of a surrogate pair"),
        ("[" * 100000, "nested too deeply"),
        ("{", "Expecting"),
        ("9" * 5000, "integer string"),
    ],
)
def test_json_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        read_json(written(tmp_path, text.encode()))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert parse_json('"\\ud83c\\udfac"') == "🎬"


texts = st.text(st.characters(exclude_categories=("Cs",)))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(values, st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_value_comes_back_from_json_and_yaml(
    tmp_path_factory: pytest.TempPathFactory, value: object, ascii_only: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = written(folder, json.dumps(value, ensure_ascii=ascii_only).encode(), "value.json")
    assert read_json(path) == value
    path = written(folder, yaml.safe_dump(value).encode(), "value.yaml")
    assert read_yaml(path) == value


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a.mp4", "a.mp4", True),
        ("é.mp4", unicodedata.normalize("NFD", "é.mp4"), True),
        ("a", "a.mp4", True),
        ("a.mp4", "a", True),
        ("videos/a.mp4", "a.mp4", True),
        ("videos\\a.mp4", "./videos/a", True),
        ("a.mov", "a.mp4", False),
        ("x/a.mp4", "y/a.mp4", False),
        ("a.b", "a.c", False),
        ("A.mp4", "a.mp4", False),
        ("", "a.mp4", False),
    ],
)
def test_names_are_the_same_but_for_form_suffix_and_folder(
    one: str, other: str, same: bool
) -> None:
    assert (Names([other]).find(one) == other) is same
    assert (Names([one]).find(other) == one) is same


def test_the_most_alike_name_is_found_and_a_tie_is_refused() -> None:
    names = Names(["x/a.mp4", "a.mp4", "y/b.mp4", "z/b.mp4", "c.mov", "c.mp4"])
    assert names.find("a.mp4") == "a.mp4"
    assert names.find("a") == "a.mp4"
    assert names.find("x/a") == "x/a.mp4"
    assert names.find("data/x/a.mp4") == "x/a.mp4"
    assert names.find("d.mp4") is None
    for tie in ("b.mp4", "c"):
        with pytest.raises(UserError, match="write the name with its folder and suffix"):
            names.find(tie)


def test_a_file_is_found_in_whichever_unicode_form_the_disk_has(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "été")
    (tmp_path / decomposed).mkdir()
    path = written(tmp_path / decomposed, b"", decomposed + ".mp4")
    assert find_file(tmp_path, "été/été.mp4") == path
    assert find_file(tmp_path, f"{decomposed}/{decomposed}.mp4") == path
    assert find_file(tmp_path, "été/ete.mp4") is None
    assert find_file(tmp_path, "ôté/été.mp4") is None
