"""Tars with any members, made for tests."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass

from videos import numbered

from lightning_artv.data.encode import encode_lossless

VIDEO = encode_lossless(numbered(3, 16, 16), 8)
REG, LINK, SYM, DIR = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


@dataclass(frozen=True)
class File:
    """A member of a tar to write."""

    name: str
    data: bytes = b""
    kind: bytes = REG
    pax: bool = False


def tar_bytes(files: list[File], format: int = tarfile.PAX_FORMAT, comment: str = "") -> bytes:
    buffer = io.BytesIO()
    headers = {"comment": comment} if comment else {}
    with tarfile.open(fileobj=buffer, mode="w", format=format, pax_headers=headers) as tar:
        for file in files:
            info = tarfile.TarInfo(file.name)
            info.type, info.linkname = file.kind, "elsewhere" if file.kind in (LINK, SYM) else ""
            info.size = len(file.data) if file.kind == REG else 0
            info.pax_headers = {"mtime": "1.5", "SCHILY.xattr.user": "é"} if file.pax else {}
            tar.addfile(info, io.BytesIO(file.data) if file.kind == REG else None)
    return buffer.getvalue()


def names(*files: str) -> list[File]:
    """Files with their contents by suffix."""
    return [File(name, CONTENTS[name.rpartition(".")[2].lower()][0]) for name in files]


CONTENTS = {
    **dict.fromkeys(("mp4", "webm", "flv"), (VIDEO, b"", b"no video")),
    "txt": (b"a caption", b"", " ein Hund,\r\nläuft ".encode(), b"\xff\xfe\xff", b"nul\0"),
    "json": (
        b'{"caption": "of json", "duration": 3}',
        b"{",
        b"[]",
        b'{"text": ["", "first"]}',
        b'{"prompt": "\\ud83d"}',
    ),
    **dict.fromkeys(("jpg", "md", "safetensors"), (b"x",)),
}
