"""Shards: small videos with near keyframes, resumed; the same bytes always."""

# ruff: noqa: F401, F811 (fixtures are imported and named again by the tests that use them)

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prep_videos import h264, map_here, moving, tree
from real_clips import CLIPS, needs_clips
from shard_folders import ENGINE, ROOT, _here, selection, source, write

from data_prep.options import Limits, ShardOptions
from data_prep.shards import write as shards_module
from data_prep.shards.accounts import summary, write_accounts
from data_prep.shards.check import check
from data_prep.shards.files import MANIFEST, read_manifest
from data_prep.shards.transcode import longest_gop, prepare, prepare_clips
from data_prep.shards.write import Plan, write_selection, write_shards
from data_prep.tables import read_rows
from lightning_artv.data.decode import Video
from lightning_artv.data.shards import ClipSettings, ShardDataset
from lightning_artv.data.tar import read_shard
from lightning_artv.errors import UserError
from lightning_artv.systems.artv.windows import NextFrame


def test_every_video_arrives_small_with_near_keyframes(tmp_path: Path, source: Path) -> None:
    out = write(tmp_path, source, samples=3, size=16, gop=4, fps=6)
    stored = [raw for tar in sorted(out.glob("*.tar")) for raw in read_shard(tar)]
    assert [raw.key for raw in stored] == [f"v{k:02d}" for k in range(9) if k != 4]
    for raw in stored:
        assert longest_gop(raw.files["mp4"]) <= 4
        meta = json.loads(raw.files["json"])
        with Video(raw.files["mp4"]) as video:
            assert (meta["height"], meta["width"]) == video.size == (16, 24)
            assert meta["frames"] == len(video.timestamps)
            assert meta["fps"] == pytest.approx(video.fps, abs=1e-3) == pytest.approx(6, abs=0.1)
    assert stored[2].files["txt"] == b"caption 2"
    assert len(list(ShardDataset(out, ClipSettings(NextFrame(), (16, 16), None)))) == 8


def test_beside_a_tar_lie_its_table_and_stats(tmp_path: Path, source: Path) -> None:
    out = write(tmp_path, source, samples=4)
    assert sorted(tree(out)) == [
        *(f"{n}{end}" for n in ("00000", "00001") for end in (".parquet", ".tar", "_stats.json")),
        "made_by.json",
        MANIFEST,
    ]
    rows = read_rows(out / "00001.parquet")
    assert [row["key"] for row in rows] == ["v04", "v05", "v06", "v07", "v08"]
    assert rows[0]["error_kind"] == "damaged" and rows[0]["sample"] is None
    assert rows[1]["caption"] == "caption 5" and rows[1]["frames"] == 15
    stats = json.loads((out / "00001_stats.json").read_text())
    assert (stats["count"], stats["successes"], stats["failed_to_subsample"]) == (5, 4, 1)
    assert stats["status_dict"] == {"damaged": 1, "success": 4}
    for shard in read_manifest(out)[1]:
        for name, (digest, size) in shard.files.items():
            data = (out / name).read_bytes()
            assert (hashlib.sha256(data).hexdigest(), len(data)) == (digest, size)
    assert not write_shards(Plan(tmp_path / "sel", False, ShardOptions(samples=4), out), ENGINE)


def test_videos_within_the_limits_are_copied_others_encoded(tmp_path: Path, source: Path) -> None:
    rows = read_rows(write(tmp_path, source, gop=12) / "00000.parquet")
    far = {"v03": False, "v06": False}  # a keyframe each, 13 and 16 frames
    assert {row["key"]: row["copied"] for row in rows if row["sample"]} == {
        f"v{k:02d}": far.get(f"v{k:02d}", True) for k in range(9) if k != 4
    }


def test_a_shard_may_be_bounded_by_its_bytes(tmp_path: Path, source: Path) -> None:
    out = write(tmp_path, source, megabytes=0.02)
    tables = [read_rows(path) for path in sorted(out.glob("*.parquet"))]
    assert len(tables) > 2
    for rows in tables[:-1]:
        sizes = [row["size_bytes"] or 0 for row in rows if row["status"] == "ok"]
        assert sum(sizes) >= 20_000 > sum(sizes[:-1])
    assert [row["key"] for rows in tables for row in rows] == [f"v{k:02d}" for k in range(9)]


def test_clips_are_cut_at_scene_cuts_and_may_straddle_shards(tmp_path: Path, source: Path) -> None:
    out = write(tmp_path, source, cuts=[0.25, 0.5], cut=True, min_seconds=0.2, samples=4)
    rows = [row for path in sorted(out.glob("*.parquet")) for row in read_rows(path)]
    first = [row for row in rows if row["key"] == "v00"]
    assert [row["sample"] for row in first] == ["v00-0000", "v00-0001", "v00-0002"]
    assert [row["start"] for row in first] == pytest.approx([0.0, 0.25, 0.5])
    assert [row["frames"] for row in first] == [3, 3, 4]  # 12 fps
    assert [len(list(read_shard(tar))) for tar in sorted(out.glob("*.tar"))] == [4] * 6
    assert check(out, ENGINE) == []


def test_one_decode_gives_the_pieces_between_cuts() -> None:
    frames = moving(30, 3)
    frames[:12] = 20
    frames[12:] = 200
    clips = prepare_clips(h264(frames, 12), Limits(gop=5), [1.0])
    assert [clip.start for clip in clips] == [0.0, 1.0]
    assert [clip.meta["frames"] for clip in clips] == [12, 18]
    for clip, level in zip(clips, (20, 200), strict=True):
        with Video(clip.video) as video:
            assert video.timestamps[0] == 0
            means = video.frames(range(clip.meta["frames"])).float().mean((1, 2, 3))
        assert (means - level).abs().max() < 3
    short = prepare_clips(h264(frames, 12), Limits(), [1.0, 2.4], min_seconds=0.5)
    assert [clip.start for clip in short] == [0.0, 1.0]  # the last 0.1 s are left out


def test_the_keyframe_distance_is_that_of_the_encoder() -> None:
    for gop in (1, 7, 12):
        assert longest_gop(h264(moving(30, 1), gop=gop)) == gop
    far = h264(moving(30, 1))
    assert longest_gop(far) == 30
    assert prepare(far, Limits(gop=30)).copied
    near = prepare(far, Limits(gop=29))
    assert not near.copied
    assert longest_gop(near.video) <= 29


@needs_clips
def test_encoding_reads_no_memory_that_it_has_not_written() -> None:
    """glibc fills fresh memory with another byte in each process; with x264's macroblock tree the
    bytes of this clip differ."""
    code = (
        "import sys, hashlib, pathlib\n"
        "from data_prep.options import Limits\n"
        "from data_prep.shards.transcode import prepare\n"
        "video = prepare(pathlib.Path(sys.argv[1]), Limits(size=320, gop=24)).video\n"
        "print(hashlib.sha256(video).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, str(CLIPS / "man-skiing.mp4")],
            env={**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_PERTURB_": fill},
            capture_output=True,
            check=True,
        ).stdout
        for fill in ("85", "170")
    }
    assert len(digests) == 1


def test_an_interrupted_writer_goes_on_after_its_last_shard(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write(tmp_path, source, "whole", cuts=[0.25], cut=True, min_seconds=0.1, samples=5)
    worked: list[int] = []

    def stops_after(limit: int):
        def stopping(job, table, numbers, options):
            for count, (number, row) in enumerate(
                zip(numbers, map_here(job, table, numbers, options), strict=True)
            ):
                if count == limit:
                    raise KeyboardInterrupt
                worked.append(number)
                yield row

        return stopping

    options = ShardOptions(cut=True, min_seconds=0.1, samples=5)
    plan = Plan(tmp_path / "sel", False, options, tmp_path / "out")
    for limit in (1, 4, 3, 0):
        monkeypatch.setattr(shards_module, "map_rows", stops_after(limit))
        with pytest.raises(KeyboardInterrupt):
            write_shards(plan, ENGINE)
        assert not (plan.folder / MANIFEST).exists()
    monkeypatch.setattr(shards_module, "map_rows", stops_after(99))
    assert write_shards(plan, ENGINE)
    assert tree(plan.folder) == tree(whole)
    assert worked.count(0) == 2  # the first video was in the first shard, which was finished once


def test_shards_of_another_making_are_refused(tmp_path: Path, source: Path) -> None:
    out = write(tmp_path, source, samples=4)
    before = tree(out)
    other = Plan(tmp_path / "sel", False, ShardOptions(samples=3), out)
    with pytest.raises(UserError, match=r"another samples \(4, not 3\); add --overwrite"):
        write_shards(other, ENGINE)
    assert tree(out) == before
    (out / "notes.txt").write_text("mine")
    assert write_shards(other, ENGINE, overwrite=True)
    assert [shard.samples for shard in read_manifest(out)[1]] == [3, 3, 2]
    assert (out / "notes.txt").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "00000.tar").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"00000\.tar of another origin"):
        write_shards(Plan(tmp_path / "sel", False, ShardOptions(), foreign), ENGINE, overwrite=True)
    assert (foreign / "00000.tar").read_bytes() == b"precious"


def test_every_video_is_accounted_for_in_both_splits(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = selection(tmp_path, source, held_out=0.4)
    accounts = write_selection(chosen, tmp_path / "out", ShardOptions(samples=2), ENGINE)
    rows = read_rows(accounts)
    assert [row["key"] for row in rows] == [f"v{k:02d}" for k in range(9)]
    for row in rows:
        if row["key"] == "v04":
            assert (row["outcome"], row["reason"], row["samples"]) == ("failed", "damaged", 0)
            continue
        tar = tmp_path / "out" / f"{row['shard']}.tar"
        assert row["outcome"] == "kept" and row["samples"] == 1
        assert row["key"] in [raw.key for raw in read_shard(tar)]
    assert {row["shard"].split("/")[0] for row in rows if row["shard"]} == {"train", "held_out"}
    assert summary(accounts).startswith("9 videos: 8 kept, 0 filtered, 1 failed")
    folders = [tmp_path / "out" / name for name in ("train", "held_out")]
    assert not write_accounts(chosen, folders, accounts)


@pytest.mark.parametrize(
    "options", [{"samples": 0}, {"megabytes": 0}, {"gop": 0}, {"crf": 52}, {"preset": "quick"},
                {"size": 8}, {"fps": 0}, {"min_seconds": -1}],
)  # fmt: skip
def test_impossible_options_are_refused(options: dict) -> None:
    with pytest.raises(UserError):
        ShardOptions(**options)
