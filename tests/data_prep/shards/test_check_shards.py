"""Damaged, foreign and unfinished shards: found, repaired, told."""

# ruff: noqa: F401, F811 (fixtures are imported and named again by the tests that use them)

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from prep_videos import h264, make_source, moving, tree
from shard_folders import ENGINE, _here, selection, source, write

from data_prep.options import SelectOptions
from data_prep.selection.select import select
from data_prep.shards.check import check, check_and_repair, plan_of, repair
from data_prep.shards.files import MANIFEST, SAMPLES, read_manifest
from data_prep.tables import read_rows, write_rows
from lightning_artv.data.tar import read_shard
from lightning_artv.errors import DataError, UserError


def flip(path: Path, where: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda out: flip(out / "00001.tar"), "00001.tar has another sha256"),
        (lambda out: flip(out / "00001.parquet"), "00001.parquet has another sha256"),
        (lambda out: (out / "00001.tar").unlink(), "00001.tar is missing"),
        (lambda out: (out / "00001_stats.json").write_text("{}"), "2 bytes instead of"),
        (lambda out: os.truncate(out / "00001.tar", 1000), "has 1000 bytes instead of"),
    ],
)
def test_damage_is_found_and_repaired_alone(
    tmp_path: Path, source: Path, damage, words: str
) -> None:
    out = write(tmp_path, source, cuts=[0.25], cut=True, min_seconds=0.1, samples=5)
    before = tree(out)
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    damage(out)
    for quick in (True, False):
        (found,) = check(out, ENGINE, quick)
        assert found.shard.name == "00001"
        assert any(words in problem for problem in found.problems)
    with pytest.raises(DataError, match="1 of the shards"):
        check_and_repair(out, ENGINE)
    repair(plan_of(out, tmp_path / "sel"), [found], ENGINE)
    assert tree(out) == before
    assert check(out, ENGINE) == []
    untouched = [name for name in times if not name.startswith("00001")]
    assert all((out / name).stat().st_mtime_ns == times[name] for name in untouched)


def relabel(out: Path) -> None:
    """Make the manifest agree with what lies there: only the contents can tell."""
    from data_prep.shards.files import Shard, write_manifest
    from data_prep.tables import sha256

    made_by, shards = read_manifest(out)
    fresh = [
        Shard(s.name, s.samples, s.first, s.end, {
            n: (sha256(out / n), (out / n).stat().st_size) for n in s.files
        })
        for s in shards
    ]  # fmt: skip
    write_manifest(out, made_by, fresh)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[0].update(caption="other"), "v00: the caption is not the table's"),
        (lambda rows: rows[1].update(frames=99), "v01: 11 frames instead of 99"),
        (lambda rows: rows.pop(2), "v02 is in the tar only"),
        (lambda rows: rows.append({**rows[0], "sample": "x"}), "x is in the table only"),
    ],
)
def test_a_table_that_disagrees_with_its_tar_is_found(
    tmp_path: Path, source: Path, change, words: str
) -> None:
    out = write(tmp_path, source, samples=4)
    rows = read_rows(out / "00000.parquet")
    change(rows)
    write_rows(out / "00000.parquet", rows, SAMPLES, {})
    relabel(out)
    (found,) = check(out, ENGINE)
    assert found.problems == (words,)
    assert check(out, ENGINE, quick=True) == []


def test_far_keyframes_and_damaged_frames_are_found(tmp_path: Path, source: Path) -> None:
    out = write(tmp_path, source, samples=4)
    manifest = json.loads((out / MANIFEST).read_text())
    manifest["made_by"]["options"]["gop"] = 3
    (out / MANIFEST).write_text(json.dumps(manifest))
    problems = [problem for damage in check(out, ENGINE) for problem in damage.problems]
    assert any("frames between keyframes, above 3" in problem for problem in problems)
    tar = out / "00000.tar"
    video = next(iter(read_shard(tar))).files["mp4"]
    data = tar.read_bytes()
    start = data.index(video) + video.index(b"mdat") + 4
    tar.write_bytes(data[:start] + bytes(400) + data[start + 400 :])
    relabel(out)
    problems = [problem for damage in check(out, ENGINE) for problem in damage.problems]
    assert any(problem.startswith("v00: ") and "decod" in problem for problem in problems)


def test_repair_needs_the_same_selection_and_tells_of_a_changed_source(
    tmp_path: Path, source: Path
) -> None:
    copy = make_source(tmp_path / "copy", 4)
    out = write(tmp_path, copy, samples=2)
    (out / "00001.tar").unlink()
    damaged = check(out, ENGINE)
    other = tmp_path / "other"
    select(tmp_path / "listed", other, SelectOptions(None, distance=None, held_out=0.5))
    with pytest.raises(UserError, match="not the table that the shards"):
        plan_of(out, other)
    (copy / "v03.mp4").write_bytes(h264(moving(20, 77)))
    with pytest.raises(DataError, match="00001 were made again but differ"):
        repair(plan_of(out, tmp_path / "sel"), damaged, ENGINE)
    assert check(out, ENGINE) == []


def test_unfinished_and_unlisted_shards_are_one_sentence(tmp_path: Path, source: Path) -> None:
    out = write(tmp_path, source, samples=4)
    (out / "00007.tar").write_bytes(b"x")
    with pytest.raises(DataError, match=r"00007\.tar, which its manifest"):
        check(out, ENGINE)
    (out / MANIFEST).write_text("{")
    with pytest.raises(DataError, match="damaged"):
        check(out, ENGINE)
    (out / MANIFEST).unlink()
    with pytest.raises(DataError, match="not finished"):
        check(out, ENGINE)


def test_shards_of_another_origin_are_told_so(tmp_path: Path, source: Path) -> None:
    """Not that they are unfinished: the step shards would not make them."""
    out = write(tmp_path, source, samples=4)
    for name in ("made_by.json", MANIFEST):
        (out / name).unlink()
    for manifest in (None, '{"files": []}'):
        if manifest is not None:
            (out / MANIFEST).write_text(manifest)
        with pytest.raises(DataError, match="--kind video2dataset` reads shards of any origin"):
            check(out, ENGINE)
    (out / MANIFEST).unlink()
    (out / "latents.json").write_text("{}")
    with pytest.raises(DataError, match="check the shards of videos"):
        check(out, ENGINE)
    with pytest.raises(DataError, match="it is no folder"):
        check(tmp_path / "absent", ENGINE)


def test_the_folder_above_the_shards_is_told_so(tmp_path: Path, source: Path) -> None:
    (tmp_path / "shards").mkdir()
    write(tmp_path, source, "shards/train", samples=4)
    with pytest.raises(DataError, match=r"holds no shards, but .*shards/train does"):
        check(tmp_path / "shards", ENGINE)
    (tmp_path / "shards" / "train" / "._00000.tar").write_bytes(b"of macOS")
    assert check(tmp_path / "shards" / "train", ENGINE) == []
