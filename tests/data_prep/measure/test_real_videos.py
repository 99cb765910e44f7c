"""What real files do to the steps: lost packets, cuts, damage, slots, times, orientation."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from data_prep.measure.analyse import analyse
from data_prep.options import AnalyseOptions, Limits
from data_prep.shards.folder import write_folder
from data_prep.shards.transcode import prepare, prepare_clips
from data_prep.sources.rows import VideoEntry
from lightning_artv.data.decode import DecodeError, Video
from lightning_artv.data.tar import read_shard
from tests.data.odd_files import H264, TURNS, Recipe, file, packed_slots, remuxed
from tests.data_prep.damage import encode, index_first, moving

RED, BLUE = (200, 20, 20), (20, 20, 200)


def row(path: Path, data: bytes) -> dict:
    path.write_bytes(data)
    return analyse(VideoEntry("key", str(path), "a caption"), AnalyseOptions())


def two_scenes(container: str) -> bytes:
    """A second of red and one of blue."""
    frames = np.empty((48, 32, 48, 3), np.uint8)
    frames[:24], frames[24:] = RED, BLUE
    return encode(frames, container=container, x264="keyint=12:min-keyint=12:scenecut=0")


@pytest.mark.parametrize("container", ["mpegts", "matroska"])
@pytest.mark.parametrize("lost", [(6, 12), (13, 17), (12, 18), (12, 23), (20, 22), (25, 30)])
def test_a_piece_holds_its_own_scene_whatever_was_lost(
    container: str, lost: tuple[int, int]
) -> None:
    data = remuxed(two_scenes(container), container, without=range(*lost))
    with Video(data) as video:
        cut = min(time for time in video.timestamps if time > 0.99)
    red, blue = prepare_clips(data, Limits(), [cut], 0.1)
    for clip, channel in ((red, 0), (blue, 2)):
        with Video(clip.video) as video:
            frames = video.frames(range(len(video.timestamps))).float().mean((2, 3))
        assert (frames.argmax(1) == channel).all()
        assert clip.meta["frames"] == len(frames)


def test_an_mp4_knows_how_many_frames_it_has(tmp_path: Path) -> None:
    data = remuxed(two_scenes("mp4"), "mp4", without=range(12, 18))
    with pytest.raises(DecodeError, match="37 of 42 frames can be decoded"):
        prepare(data, Limits())
    assert row(tmp_path / "v.mp4", data)["error"] == "37 of 42 frames can be decoded"


def test_frames_that_do_not_come_are_counted_and_the_others_keep_their_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decode = Video.decode

    def gaps(video: Video, *first: int):
        return (frame for frame in decode(video, *first) if video.index(frame) not in (20, 21, 22))

    data = two_scenes("matroska")
    monkeypatch.setattr(Video, "decode", gaps)
    red, blue = prepare_clips(data, Limits(), [1.0], 0.1)
    assert (red.meta["lost"], red.meta["frames"]) == (3, 21)
    assert "lost" not in blue.meta
    monkeypatch.undo()
    with Video(red.video) as video:
        times = [k / 24 for k in range(24) if k not in (20, 21, 22)]
        assert video.timestamps == pytest.approx(times, abs=1e-3)
        assert video.frames([20])[0, 0].float().mean() > 150


def test_a_file_that_does_not_decode_as_a_whole_is_not_copied(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    good = encode(moving(72, 32, 48))
    indexed = index_first(good, tmp_path / "indexed.mp4")
    broken = bytearray(good)
    middle = good.index(b"mdat") + len(good) // 2
    broken[middle : middle + 300] = bytes(300)
    files = {"good": good, "cut": indexed[: len(indexed) * 6 // 10], "broken": bytes(broken)}
    lines = ["file_name,text"]
    for name, data in files.items():
        (source / f"{name}.mp4").write_bytes(data)
        lines.append(f"{name}.mp4,{name}")
    (source / "metadata.csv").write_text("\n".join(lines))
    report = write_folder(source, tmp_path / "out")
    assert (report.copied, report.encoded) == (1, 0)
    reasons = dict(report.skipped)
    assert reasons.keys() == {"cut.mp4", "broken.mp4"}
    assert "of 72 frames" in reasons["cut.mp4"]
    assert next(iter(read_shard(tmp_path / "out" / "00000.tar"))).files["mp4"] == good
    for name in reasons:
        found = row(tmp_path / "v.mp4", files[Path(name).stem])
        assert found["error_kind"] in ("truncated", "damaged")


def test_what_is_stored_without_some_frames_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "metadata.csv").write_text("file_name,text\na.mp4,a\n")
    (source / "a.mp4").write_bytes(encode(moving(40, 32, 48)))
    decode = Video.decode
    monkeypatch.setattr(
        Video, "decode", lambda video, *a: (f for f in decode(video, *a) if video.index(f) != 9)
    )
    report = write_folder(source, tmp_path / "out")
    assert (report.copied, report.encoded, report.lossy) == (0, 1, (("a.mp4", 1),))
    assert "a.mp4: 1 of its frames lost" in str(report)


def test_too_many_frames_that_do_not_come_are_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = Video.decode
    monkeypatch.setattr(
        Video, "decode", lambda video, *a: (f for f in decode(video, *a) if video.index(f) % 2)
    )
    with pytest.raises(DecodeError, match="20 of 40 frames can be decoded"):
        prepare(encode(moving(40, 32, 48)), Limits())


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
@pytest.mark.parametrize("share", [0.4, 0.8])
def test_an_avi_with_empty_slots_is_whole_or_cut(tmp_path: Path, codec: str, share: float) -> None:
    data = packed_slots(codec, 0)
    found = row(tmp_path / "v.avi", data)
    assert (found["status"], found["frames"], found["variable_fps"]) == ("ok", 12, True)
    assert found["duration"] == pytest.approx(1.0 * 12 / 11, abs=0.01)
    found = row(tmp_path / "v.avi", data[: round(share * len(data))])
    assert found["error_kind"] in ("truncated", "damaged")


def test_the_table_says_how_a_picture_is_turned(tmp_path: Path) -> None:
    facts = {"mirrored": (48, 32, 0), "clockwise": (32, 48, 270), "transposed": (32, 48, 90)}
    for name, (width, height, rotation) in facts.items():
        found = row(tmp_path / "v.mp4", file("mp4", Recipe(matrix=TURNS[name])))
        assert (found["width"], found["height"], found["rotation"]) == (width, height, rotation)


def test_an_mp4_off_a_keyframe_trains_from_its_first_picture(tmp_path: Path) -> None:
    data = remuxed(file("mp4", H264), "mp4", without=range(2))
    found = row(tmp_path / "v.mp4", data)
    assert (found["status"], found["frames"]) == ("ok", 6)
    stored = prepare(data, Limits())
    assert stored.copied
    assert stored.meta["frames"] == 6
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert len(list(container.decode(video=0))) == 6
