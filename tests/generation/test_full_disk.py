"""A video for which the disk has no room, or that a signal ends while it is written."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_disk import mounted

from lightning_artv.errors import UserError
from lightning_artv.media import open_writer, read_video, writing
from lightning_artv.media.atomic import replace_end
from lightning_artv.media.writing import partial_path, record_path

FRAMES = np.random.default_rng(0).integers(0, 255, (18, 32, 32, 3), dtype=np.uint8)
PAGE = 4096


def write(path: Path, record: bytes, frames: np.ndarray = FRAMES) -> tuple[int, str]:
    """How many frames were written, and the sentence about what hindered the rest."""
    written = 0
    try:
        with open_writer(path, 8, (32, 32), keep_partial=True, record=record) as writer:
            for frame in frames:
                writer.write(frame)
                written = writer.frames
    except UserError as error:
        return written, str(error)
    return written, ""


def assert_kept(path: Path, frames: int, before: tuple[bytes, bytes]) -> None:
    """The former video and its record are as they were; the new one's frames are playable."""
    kept = partial_path(path)
    assert (len(read_video(kept)) if kept.exists() else 0) == frames
    assert (path.read_bytes(), record_path(path).read_bytes()) == before
    assert {p.name for p in path.parent.iterdir()} <= {
        *(path.name, record_path(path).name, kept.name, "filler")
    }


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    with mounted(tmp_path / "disk", "size=512k") as folder:
        yield folder


def leave(disk: Path, room: int) -> None:
    """Fill the disk but for `room` bytes."""
    (disk / "filler").write_bytes(b"")
    state = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - room)))


@pytest.mark.parametrize("name", ["x.mp4", "x.gif"])
def test_whatever_room_a_disk_has_nothing_is_lost(name: str, disk: Path) -> None:
    """Full at the first frame, at a later one, at the palette, at the end, at the record."""
    path, record = disk / name, b"{}\n" * 3000
    assert write(path, record, FRAMES[:3]) == (3, "")
    before = path.read_bytes(), record
    seen = set()
    for pages in range(200):
        partial_path(path).unlink(missing_ok=True)
        leave(disk, pages * PAGE)
        frames, sentence = write(path, b"new" * 3000)
        if not sentence:
            break
        assert "No space left on device; free some space" in sentence and "\n" not in sentence
        assert_kept(path, frames, before)
        seen.add(frames)
    assert {0, len(FRAMES)} < seen, "neither at the first frame, nor a later one, nor the end"
    assert len(read_video(path)) == len(FRAMES) and record_path(path).read_bytes()[:3] == b"new"


def test_a_disk_without_room_for_the_record_keeps_the_former_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.mp4"
    assert write(path, b"old", FRAMES[:3]) == (3, "")
    before = path.read_bytes(), b"old"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing.Path, "write_bytes", full)
    frames, sentence = write(path, b"new")
    assert frames == len(FRAMES) and "free some space" in sentence
    assert_kept(path, len(FRAMES), before)


@pytest.mark.parametrize("end", [SystemExit(143), KeyboardInterrupt(), OSError(errno.ENOSPC, "")])
def test_a_write_that_ends_early_leaves_what_was_there(end: BaseException) -> None:
    class Half(io.BytesIO):
        """Takes half of what it is given, and then its end."""

        ended = False

        def write(self, data: object) -> int:
            view = memoryview(data)  # type: ignore[arg-type]
            if self.ended or len(view) < 4:
                return super().write(view)
            super().write(view[: len(view) // 2])
            self.ended = True
            raise end

    file = Half(b"whole;")
    with pytest.raises(type(end)):
        replace_end(file, 5, b"longer than it was;")
    assert file.getvalue() == b"whole;"
