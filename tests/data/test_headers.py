"""Plain headers are read as tarfile reads them, and whatever is not plain is left to it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from lightning_artv.data.headers import OtherHeader, plain_headers

NAMES = ["a.mp4", "folder/b.txt", "x" * 99, f"{'y' * 120}/{'z' * 60}.json"]
SIZES = [0, 1, 512, 513]


def shard(path: Path, format: int = tarfile.USTAR_FORMAT, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for name, size in zip(NAMES, SIZES, strict=True):
            info = tarfile.TarInfo(name)
            info.size, info.type = size, kind
            tar.addfile(info, io.BytesIO(b"d" * size))
    return path


def read(path: Path) -> list[tuple[str, int, int, int]]:
    """Names, sizes and places up to what is no plain header, if only the archive's end."""
    found = []
    with path.open("rb") as file, pytest.raises(OtherHeader):
        for info in plain_headers(file, 0, None):
            found.append((info.name, info.size, info.offset, info.offset_data))
    return found


def test_plain_headers_say_what_tarfile_says(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar")
    with tarfile.open(path) as tar:
        expected = [(m.name, m.size, m.offset, m.offset_data) for m in tar]
    assert read(path) == expected and [name for name, *_ in expected] == NAMES


def test_an_end_is_an_end(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar")
    third = read(path)[2][2]
    with path.open("rb") as file:  # without OtherHeader
        assert [info.name for info in plain_headers(file, 0, third)] == NAMES[:2]


@pytest.mark.parametrize("place", [0, 100, 124 + 10, 148 + 2, 156, 300, 345])
def test_a_header_with_a_changed_byte_is_not_plain(tmp_path: Path, place: int) -> None:
    path = shard(tmp_path / "a.tar")
    second = read(path)[1][2]
    with path.open("r+b") as file:
        file.seek(second + place)
        (byte,) = file.read(1)
        file.seek(second + place)
        file.write(bytes([byte ^ 1]))
    assert [name for name, *_ in read(path)] == NAMES[:1]


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.CONTTYPE])
def test_other_kinds_of_members_are_not_plain(tmp_path: Path, kind: bytes) -> None:
    assert read(shard(tmp_path / "a.tar", kind=kind)) == []


def test_a_member_that_is_cut_off_is_not_plain(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar")
    last = read(path)[3]
    with path.open("r+b") as file:
        file.truncate(last[3] + last[1] - 1)
    assert [name for name, *_ in read(path)] == NAMES[:3]
