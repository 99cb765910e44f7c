"""One decode tells everything, and no damage stops it."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from pathlib import Path
from typing import Any

import av
import pytest

from data_prep.engine.failure import ERROR_KINDS
from data_prep.measure.analyse import Analysis, analyse
from data_prep.measure.decode_pass import DecodePass
from data_prep.options import AnalyseOptions
from data_prep.sources.rows import VideoEntry
from tests.data_prep import damage

COLUMNS = [field.name for field in dataclasses.fields(Analysis)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damage")


@pytest.fixture(scope="module")
def kinds(folder: Path) -> dict[str, str | None]:
    return damage.write_damage(folder)


def row(path: Path | str) -> dict[str, Any]:
    return analyse(VideoEntry("key", str(path), "a caption"), AnalyseOptions())


def test_every_kind_of_damage_is_named_and_nothing_raises(
    folder: Path, kinds: dict[str, str | None], capfd: pytest.CaptureFixture[str]
) -> None:
    found = {name: row(folder / name) for name in kinds}
    assert {name: r["error_kind"] for name, r in found.items()} == kinds
    for name, kind in kinds.items():
        assert list(found[name]) == COLUMNS
        assert found[name]["status"] == ("failed" if kind else "ok")
        if kind:
            assert kind in ERROR_KINDS
            assert found[name]["error"]
            assert found[name]["motion"] is None
        else:
            assert found[name]["motion"] > 0
            filled = [column for column in COLUMNS[3:] if column != "watermark"]
            assert all(found[name][column] is not None for column in filled)
    assert capfd.readouterr() == ("", "")  # FFmpeg's complaints are in the rows


def test_awkward_videos_are_described_as_they_are(
    folder: Path, kinds: dict[str, str | None]
) -> None:
    facts = {
        "rotated.mp4": {"width": 96, "height": 128, "rotation": 270},
        "uhd.mp4": {"width": 3840, "height": 2160, "frames": 3},
        "odd.mp4": {"width": 77, "height": 61, "codec": "h264"},
        "variable.mkv": {"variable_fps": True, "fps": pytest.approx(5 / 0.32), "frames": 6},
        "good.mp4": {"variable_fps": False, "fps": 24, "duration": 30 / 24, "rotation": 0},
        "cp1251.mp4": {"frames": 5},
    }
    for name, wanted in facts.items():
        found = row(folder / name)
        assert {column: found[column] for column in wanted} == wanted, name
        assert found["size_bytes"] == (folder / name).stat().st_size


def test_an_avi_whose_times_are_shuffled_is_counted_instead(tmp_path: Path) -> None:
    """Packets of an avi have no times of display, so B-frames come out in the wrong order."""
    path = tmp_path / "video.avi"
    path.write_bytes(damage.encode(damage.moving(12), container="avi"))
    with av.open(str(path)) as container:
        times = [frame.pts for frame in container.decode(video=0)]
    assert times != sorted(times)
    found = row(path)
    assert (found["fps"], found["duration"], found["variable_fps"]) == (24, 0.5, False)


def test_a_cp1251_title_is_one_that_stops_others(folder: Path, kinds: dict[str, Any]) -> None:
    with pytest.raises(UnicodeDecodeError):
        av.open(str(folder / "cp1251.mp4"))


def test_the_video_is_opened_and_decoded_once(
    folder: Path, kinds: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, frames = [], []
    original, add = av.open, DecodePass.add

    def counting(*args: Any, **options: Any) -> Any:
        opened.append(args)
        return original(*args, **options)

    def noting(self: DecodePass, frame: av.VideoFrame) -> None:
        frames.append(frame.pts)
        add(self, frame)

    monkeypatch.setattr(av, "open", counting)
    monkeypatch.setattr(DecodePass, "add", noting)
    assert row(folder / "good.mp4")["frames"] == 30
    assert len(opened) == 1
    assert len(frames) == len(set(frames)) == 30


def test_an_analysis_repeats_to_the_last_bit(folder: Path, kinds: dict[str, Any]) -> None:
    assert row(folder / "good.mp4") == row(folder / "good.mp4")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("container", ["mp4", "matroska", "avi"])
def test_videos_that_end_too_early_are_truncated(
    tmp_path: Path, container: str, share: float
) -> None:
    codec = "mpeg4" if container == "avi" else "libx264"
    video = damage.encode(damage.moving(90), fps=8, container=container, codec=codec)
    if container == "mp4":
        video = damage.index_first(video, tmp_path / "indexed.mp4")
    path = tmp_path / "cut"
    path.write_bytes(video)
    assert row(path)["frames"] == 90
    path.write_bytes(video[: int(share * len(video))])
    assert row(path)["error_kind"] == "truncated"


def test_an_mp4_cut_between_two_frames_is_truncated(tmp_path: Path) -> None:
    video = damage.index_first(damage.encode(damage.moving(30)), tmp_path / "indexed.mp4")
    with av.open(io.BytesIO(video)) as container:
        ends = [(p.pos or 0) + p.size for p in container.demux(video=0) if p.size]
    path = tmp_path / "cut.mp4"
    path.write_bytes(video[: ends[14]])
    found = row(path)
    assert (found["error_kind"], found["error"]) == ("truncated", "it has 15 of 30 frames")


def test_videos_inside_shards_are_read_there(tmp_path: Path, folder: Path, kinds: Any) -> None:
    shard = tmp_path / "00000.tar"
    with tarfile.open(shard, "w") as tar:
        for name in ("uhd.mp4", "good.mp4", "zero.mp4"):
            tar.add(folder / name, name)
    assert row(f"{shard}::good.mp4") == row(folder / "good.mp4")
    assert row(f"{shard}::zero.mp4")["error_kind"] == "empty_file"
    assert row(f"{shard}::other.mp4")["error_kind"] == "missing_file"
    shard.write_bytes(shard.read_bytes()[:5000])
    assert row(f"{shard}::good.mp4")["error_kind"] in ("missing_file", "unreadable_file")
    shard.write_bytes(b"no tar")
    assert row(f"{shard}::good.mp4")["error_kind"] == "unreadable_file"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert row(tmp_path)["error_kind"] == "unreadable_file"
