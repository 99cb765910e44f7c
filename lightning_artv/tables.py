"""Tables that people write: CSV (`,`, `;` or tab), JSON lines, both also as .gz, and Parquet.

One reader for the lists of `data_prep` and of `evaluation`. What a file is shows in its first
bytes and its header, not only in its name. Texts are read as `lightning_artv.files` says.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from lightning_artv.columns import BadRow, MissingColumns, Row, places_of, spelling_of
from lightning_artv.errors import UserError
from lightning_artv.files import foreign, has_surrogates, parse_json

__all__ = ["SUFFIXES", "BadRow", "MissingColumns", "Row", "read_table", "rows"]

SUFFIXES = (".csv", ".jsonl", ".tsv", ".parquet", ".csv.gz", ".jsonl.gz", ".tsv.gz")
"""Of the files that are read."""

LONGEST_FIELD = 1 << 20
"""Characters; a longer field of a CSV is a row with a quote that is not closed."""

_DELIMITERS = ",;\t"
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_NOT_CLOSED = (
    "a quote that opens in this row is not closed as it should be: close it, and double each quote "
    "inside a quoted field"
)


def read_table(path: Path, columns: Sequence[str]) -> list[tuple[int, Row]]:
    """All rows of a small table, as `rows` gives them; one that cannot be used is refused.

    Raises:
        UserError: as `rows`, and for the first row that cannot be used.
    """
    found = [_checked(item) for item in rows(path, columns)]
    bad = [item for item in found if isinstance(item, BadRow)]
    if bad:
        more = f" ({len(bad) - 1} more rows have such faults)" if len(bad) > 1 else ""
        raise UserError(f"{path}, line {bad[0].line}: {bad[0].reason}{more}.")
    return [item for item in found if not isinstance(item, BadRow)]


def rows(
    path: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, Row] | BadRow]:
    """(line, text by column) of each row, one after the other; bad rows in their places.

    Bytes that are no UTF-8 arrive as lone surrogates, to be found with `has_surrogates`. A row of
    a CSV with more fields than the header has an unquoted comma, and is bad. A quote that is not
    closed costs its own row only, not those that it would swallow.

    Args:
        path: path of the table.
        columns: that each row must have; the header may write `File Name` for `file_name`.
        optional: further columns that a row has where the table has them.

    Raises:
        MissingColumns: the table is of something else.
        UserError: no such file, another kind of file, damage, or a column that is there twice.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            file.seek(0)
            yield from _read(path, file, head, columns, optional)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}): unpack or copy it again.") from error
    except UnicodeDecodeError as error:
        coding = error.encoding.upper()
        raise UserError(f"{path} is not {coding} text: save it as UTF-8.") from error
    except OSError as error:
        raise UserError(f"The list {path} cannot be read ({error.strerror or error}).") from error


def _read(
    path: Path, file: Any, head: bytes, columns: Sequence[str], optional: Sequence[str]
) -> Iterator[tuple[int, Row] | BadRow]:
    if head.startswith(_PARQUET):
        yield from _parquet_rows(path, columns, optional)
        return
    if head.startswith(_GZIP):
        file = gzip.open(file)  # noqa: SIM115 - the file under it is closed
        head = file.read(4096)
        file.seek(0)
    kind = foreign(head)
    if kind:
        raise UserError(f"{path} {kind}.")
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0\0" in head[:4] or (b"\0" in head[:4] and not wide):
        raise UserError(f"{path} is not UTF-8: save it as UTF-8 (iconv -f ... -t utf-8).")
    coding, errors = ("utf-16", "surrogatepass") if wide else ("utf-8-sig", "surrogateescape")
    text = io.TextIOWrapper(file, encoding=coding, errors=errors, newline="")
    if {".jsonl", ".ndjson"} & {suffix.lower() for suffix in path.suffixes}:
        yield from _json_rows(text, columns, optional)
    else:
        yield from _csv_rows(path, text, columns, optional)


def _csv_rows(
    path: Path, text: TextIO, columns: Sequence[str], optional: Sequence[str]
) -> Iterator[tuple[int, Row] | BadRow]:
    csv.field_size_limit(LONGEST_FIELD)
    lines = _Lines(text)
    header, delimiter = _header(path, lines, columns)
    places = places_of(path, header, columns, optional)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.taken.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow(lines.start, _why(error))
            lines.give_back()
            continue
        if len(fields) == len(header):
            yield lines.start, {name: fields[place] for name, place in places.items()}
        elif len(fields) > 1 or any(field.strip() for field in fields):
            yield BadRow(lines.start, _shifted(len(fields), len(header), delimiter))


def _shifted(fields: int, columns: int, delimiter: str) -> str:
    mark = {",": "a comma", ";": "a semicolon", "\t": "a tab"}[delimiter]
    fix = f"quote the field that holds {mark}" if fields > columns else "write the missing ones"
    return f"the row has {fields} field{'s' * (fields > 1)} and the header {columns}: {fix}"


class _Lines:
    """The lines of a text; the latest can be given back.

    Attributes:
        count: the number of the latest line, from 1.
        taken: the lines of the present row.
    """

    def __init__(self, text: Iterable[str]) -> None:
        self._text = iter(text)
        self._back: deque[str] = deque()
        self.count = 0
        self.taken: list[str] = []

    @property
    def start(self) -> int:
        """The number of the present row's first line."""
        return self.count - len(self.taken) + 1

    def give_back(self) -> None:
        """Have all lines of the present row but the first come again."""
        again = self.taken[1:]
        self._back.extendleft(reversed(again))
        self.count -= len(again)
        del self.taken[1:]

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._text)
        self.count += 1
        self.taken.append(line)
        return line


def _header(path: Path, lines: _Lines, columns: Sequence[str]) -> tuple[list[str], str]:
    """The names in the first line, and the delimiter that shows most of the columns in it."""
    first = next((line for line in lines if line.strip()), "")
    if "\0" in first or has_surrogates(first):
        raise UserError(f"{path} is not UTF-8: save it as UTF-8 (iconv -f ... -t utf-8).")
    wanted = {spelling_of(name) for name in columns}
    headers = [(_names(first, delimiter), delimiter) for delimiter in _DELIMITERS]
    return max(headers, key=lambda item: len(wanted & {*map(spelling_of, item[0])}))


def _names(line: str, delimiter: str) -> list[str]:
    try:
        return [n.strip() for n in next(csv.reader([line], delimiter=delimiter, strict=True), [])]
    except csv.Error:
        return [line.strip()]


def _json_rows(
    text: TextIO, columns: Sequence[str], optional: Sequence[str]
) -> Iterator[tuple[int, Row] | BadRow]:
    for line, content in enumerate(text, start=1):
        if not content.strip():
            continue
        try:
            row = parse_json(content, surrogates=True)
        except ValueError as error:
            yield BadRow(line, f"no JSON ({error})")
            continue
        if isinstance(row, dict):
            yield _of_values(line, row, columns, optional)
        else:
            yield BadRow(line, "the line is no JSON object")


def _parquet_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str]
) -> Iterator[tuple[int, Row] | BadRow]:
    import pyarrow as pa  # only here: it takes a while
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            places = places_of(path, names, columns, optional)
            line = 0
            for batch in file.iter_batches(columns=[names[place] for place in places.values()]):
                texts = {name: _texts(batch[names[place]]) for name, place in places.items()}
                for values in zip(*texts.values(), strict=True):
                    line += 1
                    row = dict(zip(texts, values, strict=True))
                    yield _of_values(line, row, columns, optional)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is a damaged Parquet table ({reason}): copy it again.") from error


def _texts(column: Any) -> list[Any]:
    """A column's values; texts that are no UTF-8 as `rows` has them."""
    import pyarrow as pa

    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return list(column.to_pylist())
    data = column.cast(pa.large_binary()).to_pylist()
    return [None if item is None else item.decode("utf-8", "surrogateescape") for item in data]


def _of_values(
    line: int, values: Mapping[str, Any], columns: Sequence[str], optional: Sequence[str]
) -> tuple[int, Row] | BadRow:
    """The texts and numbers of a row by column."""
    spelt = {spelling_of(name): name for name in values}
    row: dict[str, str] = {}
    for name in (*columns, *optional):
        value = values.get(name, values.get(spelt.get(spelling_of(name), name)))
        if isinstance(value, str):
            row[name] = value
        elif isinstance(value, int | float) and value == value and not isinstance(value, bool):
            row[name] = str(value)  # NaN, which is not itself, is how tables write nothing
    missing = [name for name in columns if name not in row]
    if missing:
        return BadRow(line, f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} missing")
    return line, row


def _checked(item: tuple[int, Row] | BadRow) -> tuple[int, Row] | BadRow:
    if not isinstance(item, BadRow):
        for name, text in item[1].items():
            if has_surrogates(text):
                return BadRow(item[0], f"its {name} is not UTF-8: save the file as UTF-8")
    return item


def _why(error: csv.Error) -> str:
    text = str(error)
    if "field limit" in text:
        return f"a field has more than {LONGEST_FIELD:,} characters, or {_NOT_CLOSED}"
    if "end of data" in text or "expected after" in text:
        return _NOT_CLOSED
    return f"no CSV ({text})"
