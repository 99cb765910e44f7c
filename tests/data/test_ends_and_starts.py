"""Files that end early or begin before their clock does."""

from __future__ import annotations

import io
from pathlib import Path

import av
import pytest
import torch
from odd_files import H264, OPEN_GROUPS, Recipe, file, remuxed

from data_prep.measure.analyse import analyse
from data_prep.options import AnalyseOptions, Limits
from data_prep.shards.transcode import prepare
from data_prep.sources.rows import VideoEntry
from lightning_artv.data.decode import DecodeError, Video

LONG = Recipe(gop=6, fps=2)
FILES = {
    "mkv": lambda: file("matroska", LONG),
    "webm": lambda: file("webm", Recipe("libvpx", options={"b": "1M"}, b_frames=0, fps=2)),
    "flv": lambda: file("flv", LONG),
    "avi": lambda: file("avi", Recipe("mpeg4", options={}, b_frames=0, fps=2)),
    "h264 avi": lambda: file("avi", LONG),
}


def ends(data: bytes) -> list[int]:
    """Where each packet of a file ends, in bytes."""
    with av.open(io.BytesIO(data)) as container:
        return [(p.pos or 0) + p.size + 40 for p in container.demux(video=0) if p.size]


@pytest.mark.parametrize("name", FILES)
def test_what_ends_between_two_frames_is_neither_stored_nor_measured(
    name: str, tmp_path: Path
) -> None:
    data = FILES[name]()
    assert prepare(data, Limits()).meta["frames"] == 12
    cut = data[: ends(data)[6]]
    with pytest.raises(DecodeError, match="it is truncated: it ends after"):
        prepare(cut, Limits())
    path = tmp_path / "cut"
    path.write_bytes(cut)
    row = analyse(VideoEntry("key", str(path), "a caption"), AnalyseOptions())
    assert row["error_kind"] == "truncated"


def test_pictures_before_the_start_of_an_mkv_are_not_shown() -> None:
    """A cut off the first keyframe: Matroska has no time for what is shown before it."""
    whole = file("mp4", OPEN_GROUPS)
    cut = remuxed(whole, "matroska", without=range(4), shift=-6 * 512, avoid_negative_ts="disabled")
    with av.open(io.BytesIO(cut)) as container:
        assert any(p.pts is None for p in container.demux(video=0) if p.size)
    with Video(whole) as first, Video(cut) as video:
        assert video.timestamps == pytest.approx([k / 24 for k in range(7)], abs=1e-3)
        found = video.frames(range(7)).float()
        assert (found - first.frames(range(6, 13)).float()).abs().max() <= 2
        assert video.absent == 2


@pytest.mark.parametrize("recipe", [H264, OPEN_GROUPS], ids=["closed", "open"])
def test_an_mkv_whose_first_keyframe_is_before_its_start_is_read_whole(
    recipe: Recipe, tmp_path: Path
) -> None:
    """All readers count its frames, as ffmpeg does, which shows every one."""
    whole = file("mp4", recipe)
    early = remuxed(whole, "matroska", shift=-6 * 512, avoid_negative_ts="disabled")
    with av.open(io.BytesIO(early)) as container:
        assert next(container.demux(video=0)).pts is None
    with Video(whole) as first, Video(early) as video:
        count = len(first.timestamps)
        assert video.timestamps == pytest.approx([k / 24 for k in range(count)], abs=1e-3)
        assert torch.equal(video.frames(range(count)), first.frames(range(count)))
        assert len(list(video.decode())) == count and video.absent == 0
    assert prepare(early, Limits()).meta["frames"] == count
    path = tmp_path / "early.mkv"
    path.write_bytes(early)
    row = analyse(VideoEntry("key", str(path), "a caption"), AnalyseOptions())
    assert row["frames"] == count and row["fps"] == pytest.approx(24, abs=0.1)


def test_joined_streams_lose_no_frame_in_motion(tmp_path: Path) -> None:
    path = tmp_path / "joined.ts"
    path.write_bytes(file("mpegts", H264) * 3)
    row = analyse(VideoEntry("key", str(path), "a caption"), AnalyseOptions())
    assert row["frames"] == 36
    assert row["fps"] == pytest.approx(24, abs=0.01)
