"""Files that people write: texts, lists, YAML, JSON, and the names of other files in them.

One reader for prompts, storyboards, captions and tables. A text is UTF-8, with or without a byte
order mark, or UTF-16 with one. Line ends may be those of any system. Nothing is guessed: other
bytes are refused in a sentence that names the file, the byte and the fix.
"""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lightning_artv.errors import UserError

_MAGIC = {
    b"\x1f\x8b": ("a gzip archive", "unpack it with gunzip"),
    b"PAR1": ("a Parquet table", "save it as CSV"),
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "unpack it, or save the sheet as CSV"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save the sheet as CSV"),
    b"\x28\xb5\x2f\xfd": ("a zstd archive", "unpack it with unzstd"),
    b"BZh": ("a bzip2 archive", "unpack it with bunzip2"),
    b"\xfd7zXZ": ("an xz archive", "unpack it with unxz"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it"),
    b"SQLite format 3": ("an SQLite database", "save the table as CSV"),
    b"ARROW1": ("an Arrow file", "save it as CSV"),
    codecs.BOM_UTF32_BE: ("UTF-32", "save it as UTF-8, such as with iconv -f utf-32 -t utf-8"),
    b"%PDF": ("a PDF", "save its text as UTF-8"),
    b"{\\rtf": ("a rich text document", "save it as plain text"),
}
_Key = TypeVar("_Key")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_text(path: str | Path, what: str = "file") -> str:
    """The text of a file, without a byte order mark, with `\\n` as the only line end.

    Args:
        path: UTF-8, or UTF-16 with a byte order mark.
        what: the noun for the file in messages, such as "storyboard".

    Raises:
        UserError: no such file, or it is not such a text.
    """
    return decode_text(read_bytes(path, what), f"The {what} '{path}'")


def read_bytes(path: str | Path, what: str = "file") -> bytes:
    """All bytes of a file.

    Raises:
        UserError: no such file, a folder, or it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"There is no {what} '{path}': check the path.") from error
    except IsADirectoryError as error:
        raise UserError(f"The {what} '{path}' is a folder: name a file.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"The {what} '{path}' cannot be read ({reason}).") from error


def decode_text(data: bytes, name: str) -> str:
    """The text in the bytes of a file, see `read_text`.

    Args:
        data: all bytes of the file.
        name: what begins a message, such as "The storyboard 'a.yaml'".

    Raises:
        UserError: other bytes than such a text.
    """
    coding = _coding(data)
    try:
        text = data.decode(coding)
    except UnicodeDecodeError as error:
        raise UserError(f"{name} {_not_text(data, coding, error)}.") from error
    if "\0" in text:
        nul = data.find(0) if coding != "utf-16" else len(text.partition("\0")[0].encode(coding))
        known = foreign(data) or f"has a NUL character at byte {nul}: save it as UTF-8"
        raise UserError(f"{name} {known}.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def foreign(data: bytes) -> str | None:
    """What a file that begins with `data` is instead of a text, and the fix; None for a text."""
    for magic, (kind, fix) in _MAGIC.items():
        if data.startswith(magic):
            return f"is {kind}, not a text: {fix}"
    return None


def read_lines(path: str | Path, what: str = "file") -> list[str]:
    """The entries of a list with one entry per line, such as prompts.

    Blanks around an entry are dropped, and so are byte order marks before it, as where files were
    joined, blank lines, and comments, which are lines that begin with `#`. An entry that begins
    with `#` is written `\\#`.

    Raises:
        UserError: no such file, or it is not a text, see `read_text`.
    """
    lines = (line.lstrip("\ufeff").strip() for line in read_text(path, what).split("\n"))
    kept = (line for line in lines if not is_blank(line) and not line.startswith("#"))
    return [line[1:] if line.startswith("\\#") else line for line in kept]


def read_yaml(path: str | Path, what: str = "file") -> Any:
    """The content of a YAML file; only plain values, nothing in it is executed.

    Raises:
        UserError: no such file, no YAML, a key that is there twice, or a value that is none (the
            date 2020-13-45, half of a surrogate pair).
    """
    text = read_text(path, what)
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise UserError(f"The {what} '{path}' is not YAML: {error}.") from error


def parse_yaml(text: str) -> Any:
    """The value that a YAML text stands for, see `read_yaml`.

    Raises:
        ValueError: no YAML, a key that is there twice, or a value that is none.
    """
    try:
        return _StrictLoader(text).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split()).rstrip(".")) from error


def read_json(path: str | Path, what: str = "file", surrogates: bool = False) -> Any:
    """The content of a JSON file.

    Args:
        path: path of the file.
        what: the noun for it in messages.
        surrogates: see `parse_json`.

    Raises:
        UserError: no such file, no JSON, a key that is there twice, or half of a surrogate pair.
    """
    text = read_text(path, what)
    try:
        return parse_json(text, surrogates)
    except ValueError as error:
        raise UserError(f"The {what} '{path}' is not JSON: {error}.") from error


def to_json(content: Mapping[str, Any]) -> bytes:
    """Readable JSON in UTF-8 with a final newline; the same content gives the same bytes."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def parse_json(text: str, surrogates: bool = False) -> Any:
    """The value that a JSON text stands for.

    Args:
        text: text of the whole value.
        surrogates: whether to let half of a surrogate pair through, for `has_surrogates` to find.

    Raises:
        ValueError: no JSON, a key that is there twice, or half of a surrogate pair, which is no
            character and cannot be written to any file.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not surrogates and _ESCAPED_SURROGATE.search(text):
        half = _SURROGATE.search(json.dumps(value, ensure_ascii=False))
        if half:
            raise ValueError(f"\\u{ord(half[0]):04x} is half of a surrogate pair, no character")
    return value


def one_line(text: str) -> str:
    """The words of a text with single blanks between them, without a byte order mark in front;
    empty where it has nothing to be seen."""
    line = " ".join(text.replace("\0", " ").split()).lstrip("\ufeff ")
    return "" if is_blank(line) else line


def is_blank(text: str) -> bool:
    """Whether nothing in a text can be seen: blanks, control characters, zero-width ones."""
    return all(char.isspace() or unicodedata.category(char) in ("Cc", "Cf") for char in text)


def has_surrogates(text: str) -> bool:
    """Whether bytes that are no UTF-8 went into a text (read with `surrogateescape`), or half of
    an escaped pair did; such a text cannot be written."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def _coding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig"


def _not_text(data: bytes, coding: str, error: UnicodeDecodeError) -> str:
    known = foreign(data)
    if known:
        return known
    mark = 3 if data.startswith(codecs.BOM_UTF8) else 2 if coding == "utf-16" else 0
    at = error.start + (mark if len(error.object) < len(data) else 0)
    line = data.count(b"\n", 0, at) + 1
    wide = coding == "utf-16"
    return (
        f"is not {'UTF-16' if wide else 'UTF-8'} text: byte {at} (line {line}) is "
        f"0x{data[at]:02x}; save it as UTF-8"
        f"{'' if wide else ', such as with iconv -f latin1 -t utf-8'}"
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"the key {_twice([key for key, _ in pairs])!r} is there twice")
    return found


def _twice(keys: Sequence[_Key]) -> _Key:
    return next(key for index, key in enumerate(keys) if key in keys[:index])


class _StrictLoader(yaml.SafeLoader):
    """A SafeLoader that refuses a key that is there twice and half of a surrogate pair."""

    def compose_mapping_node(self, label: Any) -> Any:
        node = super().compose_mapping_node(label)
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) < len(keys):
            text = f"the key {_twice(keys)[1]!r} is there twice"
            raise yaml.composer.ComposerError(None, None, text, node.start_mark)
        return node

    def compose_scalar_node(self, label: Any) -> Any:
        node = super().compose_scalar_node(label)
        if _SURROGATE.search(node.value):
            text = "half of a surrogate pair is no character"
            raise yaml.composer.ComposerError(None, None, text, node.start_mark)
        return node
