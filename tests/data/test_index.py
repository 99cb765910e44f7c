"""The index of shards: webdataset's own reader is the reference; damage; the cache."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from videos import write_shards

from lightning_artv.data import index as index_module
from lightning_artv.data.index import open_index, scan_shard
from lightning_artv.data.shards import ClipSettings, ShardDataset
from lightning_artv.data.tar import RawSample, read_shard
from lightning_artv.errors import DataError
from lightning_artv.systems.artv.windows import NextFrame

NAMES = st.sampled_from(["a", "b", "dir/a", "dir.x/c", "é" * 60, "long/" * 30 + "d"])
SUFFIXES = st.sampled_from(["mp4", "txt", "json", "MKV", "pyd", "a.mp4", "safetensors"])
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def write_tar(path: Path, members: list[tuple[str, bytes]], kind: int) -> None:
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def read_all(path: Path) -> list[RawSample]:
    found = open_index([path])
    return [found.read(number) for number in range(len(found))]


def same(one: RawSample, two: RawSample) -> bool:
    return (one.key, dict(one.files)) == (two.key, dict(two.files)) and bool(one.damage) == bool(
        two.damage
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    groups=st.lists(
        st.tuples(NAMES, st.lists(st.tuples(SUFFIXES, st.binary(max_size=700)), min_size=1)),
        max_size=6,
        unique_by=lambda group: group[0],
    ),
    kind=FORMATS,
    kept=st.floats(0.3, 1.0),
)
def test_the_index_finds_what_webdataset_reads(
    tmp_path_factory: pytest.TempPathFactory,
    groups: list[tuple[str, list[tuple[str, bytes]]]],
    kind: int,
    kept: float,
) -> None:
    """Any names, formats and foreign files; whole shards and ones that are cut off anywhere."""
    path = tmp_path_factory.mktemp("tar") / "0.tar"
    members = []
    for key, files in groups:
        by_suffix = {suffix.lower(): (f"{key}.{suffix}", data) for suffix, data in files}
        members += [by_suffix[suffix] for suffix in by_suffix]
    try:
        write_tar(path, members, kind)
    except ValueError:
        return  # a name that this format has no room for
    whole = path.read_bytes()
    content = len(whole.rstrip(b"\0"))
    path.write_bytes(whole if kept == 1.0 else whole[: int(content * kept)])
    ours, theirs = read_all(path), list(read_shard(path))
    assert len(ours) == len(theirs)
    assert all(same(one, two) for one, two in zip(ours, theirs, strict=True))


def test_any_sample_is_read_alone(tmp_path: Path) -> None:
    expected = write_shards(tmp_path, videos=7, per_shard=3)
    found = open_index(sorted(tmp_path.glob("*.tar")))
    assert found.counts.tolist() == [3, 3, 1] and len(found) == 7
    for number in (6, 0, 4):
        raw = found.read(number)
        assert raw.key == expected[number] and set(raw.files) == {"mp4", "txt", "json"}
        assert raw.shard.name == f"0000{number // 3}.tar"


def test_two_samples_of_one_name_stay_two(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    files = [("a.mp4", b"1"), ("a.txt", b"2"), ("a.mp4", b"3"), ("a.txt", b"4")]
    write_tar(path, files, tarfile.USTAR_FORMAT)
    read = [dict(raw.files) for raw in read_all(path)]
    assert read == [{"mp4": b"1", "txt": b"2"}, {"mp4": b"3", "txt": b"4"}]


def test_a_damaged_header_is_noticed(tmp_path: Path) -> None:
    write_shards(tmp_path, videos=4, per_shard=4)
    path = tmp_path / "00000.tar"
    data = bytearray(path.read_bytes())
    second = int(scan_shard(path).offsets[1])
    data[second : second + 512] = bytes([255]) * 512
    path.write_bytes(data)
    scan = scan_shard(path)
    assert scan.offsets.tolist()[1:] == [-1] and "damaged" in scan.damage


def test_a_shard_that_changed_since_is_corrupt_not_garbage(tmp_path: Path) -> None:
    write_shards(tmp_path, videos=2, per_shard=2)
    dataset = ShardDataset(tmp_path, ClipSettings(NextFrame(), (32, 32)), max_corrupt_share=1.0)
    (tmp_path / "00000.tar").write_bytes(bytes(3000))
    with pytest.warns(UserWarning, match="has changed"), pytest.raises(DataError, match="None of"):
        list(dataset)
    (tmp_path / "00000.tar").unlink()
    with pytest.warns(UserWarning, match="No such file"), pytest.raises(DataError, match="None"):
        list(dataset)


def test_empty_shards_are_one_sentence(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [("readme.md", b"x")], tarfile.USTAR_FORMAT)
    with pytest.raises(DataError, match="shards are empty"):
        ShardDataset(tmp_path, ClipSettings(NextFrame(), (32, 32)))


def test_the_cache_saves_the_scan_and_notices_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path / "data", videos=6, per_shard=2)
    shards = sorted((tmp_path / "data").glob("*.tar"))
    scanned: list[str] = []

    def scan(path: Path) -> index_module.ShardScan:
        scanned.append(path.name)
        return scan_shard(path)

    monkeypatch.setattr(index_module, "scan_shard", scan)
    cache = tmp_path / "cache" / "index.npz"
    first = open_index(shards, cache)
    assert len(scanned) == 3
    again = open_index(shards, cache)
    assert len(scanned) == 3
    assert again.fingerprint == first.fingerprint
    assert [again.read(n).key for n in range(6)] == [first.read(n).key for n in range(6)]

    shards[1].write_bytes(shards[1].read_bytes()[:3000])  # damaged, and the cache knows it
    for _ in range(2):
        changed = open_index(shards, cache)
    assert scanned[3:] == ["00001.tar"]
    assert changed.counts.tolist() == [2, 1, 2] or changed.counts.tolist() == [2, 2, 2]
    assert changed.read(int(changed.counts[:2].sum()) - 1).damage
    os.utime(shards[0], ns=(1, 1))
    open_index(shards, cache)
    assert scanned[4:] == ["00000.tar"]
    cache.write_bytes(b"PK nonsense")
    assert np.array_equal(open_index(shards, cache).counts, changed.counts)
    assert len(scanned) == 8


def test_a_cache_that_cannot_be_kept_is_a_warning(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", videos=2, per_shard=2)
    shards = sorted((tmp_path / "data").glob("*.tar"))
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="indexed again next time"):
        assert len(open_index(shards, tmp_path / "file" / "index.npz")) == 2


def test_only_large_sets_use_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    write_shards(tmp_path / "data", videos=3, per_shard=1)
    shards = sorted((tmp_path / "data").glob("*.tar"))
    open_index(shards)
    assert not (tmp_path / "home").exists()
    monkeypatch.setattr(index_module, "_CACHED_FROM", 3)
    open_index(shards)
    assert [path.suffix for path in (tmp_path / "home" / "lightning_artv").iterdir()] == [".npz"]
