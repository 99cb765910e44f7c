"""Shards: deterministic both ways, each sample once an epoch, honest about damage."""

from __future__ import annotations

import errno
import io
import itertools
import tarfile
import warnings
from pathlib import Path

import pytest
import torch
from videos import number, numbered, write_shards

from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.shards import ClipSettings, Place, Sample, ShardDataset, collate
from lightning_artv.data.tar import ShardWriter, expand, read_shard
from lightning_artv.errors import DataError, UserError
from lightning_artv.systems.artv.windows import NextFrame

CLIPS = ClipSettings(NextFrame(), (32, 32), fps=8)


def keys(samples: list[Sample]) -> list[str]:
    return [sample.key for sample in samples]


def write_mixed(folder: Path, corrupt: int, good: int) -> None:
    """Corrupt samples first, in one shard."""
    video = encode_lossless(numbered(4), 8)
    with ShardWriter(folder) as writer:
        for index in range(corrupt):
            writer.write(f"bad{index}", b"nonsense", "text", {})
        for index in range(good):
            writer.write(f"good{index}", video, "text", {})


def test_a_sample_holds_the_chosen_frames(tmp_path: Path) -> None:
    write_shards(tmp_path, videos=30, per_shard=30, frames=12)
    samples = list(ShardDataset(tmp_path, CLIPS))
    for sample in samples:
        assert sample.choice.tolist() == [[0, 1, 2, 3]]
        target, first, second, anchor = (number(frame) for frame in sample.frames)
        assert first == target - 1
        assert (second == target - 2 and anchor < target) or second == anchor == first
        assert sample.caption == f"caption of {sample.key}"
    assert len({number(sample.frames[0]) for sample in samples}) > 4
    batch = collate(samples[:3])
    assert batch.frames.shape == (3, 4, 3, 32, 32) and batch.choice.shape == (3, 1, 4)
    assert torch.equal(batch.frames[1], samples[1].frames)
    assert batch.keys == tuple(keys(samples[:3]))


def test_order_and_frames_depend_on_seed_and_epoch_only(tmp_path: Path) -> None:
    expected = write_shards(tmp_path, videos=20, per_shard=5, frames=20)

    def epoch(number: int, seed: int) -> list[Sample]:
        dataset = ShardDataset(tmp_path, CLIPS, shuffle=8, seed=seed)
        read = [dataset.read(Place(n, number))[0] for n in dataset.order(number).tolist()]
        return [sample for sample in read if sample is not None]

    one, again, other, later = epoch(0, 0), epoch(0, 0), epoch(0, 1), epoch(1, 0)
    assert keys(one) == keys(again)
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(one, again, strict=True))
    assert sorted(keys(one)) == sorted(keys(other)) == sorted(keys(later)) == expected
    assert len({tuple(keys(samples)) for samples in (one, other, later)}) == 3
    frames = [{s.key: number(s.frames[0]) for s in samples} for samples in (one, later)]
    assert frames[0] != frames[1]


def test_shuffling_mixes_and_loses_nothing(tmp_path: Path) -> None:
    expected = write_shards(tmp_path, videos=300, per_shard=300, frames=2)
    order = keys(list(ShardDataset(tmp_path, CLIPS, shuffle=250)))
    assert sorted(order) == expected
    assert sum(a == b for a, b in zip(order, expected, strict=True)) < 30
    assert keys(list(ShardDataset(tmp_path, CLIPS, shuffle=0))) == expected


def test_corrupt_samples_are_skipped_counted_named_and_warned_of_once(tmp_path: Path) -> None:
    write_mixed(tmp_path, corrupt=2, good=30)
    dataset = ShardDataset(tmp_path, CLIPS, max_corrupt_share=0.2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(list(dataset)) == len(list(dataset)) == 30
    counts = dataset.stats.counts
    assert (counts.seen, counts.used, counts.corrupt, counts.short) == (64, 60, 4, 0)
    assert [(p.key, p.shard) for p in dataset.stats.examples] == [
        ("bad0", "00000.tar"),
        ("bad1", "00000.tar"),
    ]
    messages = [str(w.message) for w in caught]
    assert len(messages) == 2
    assert "00000.tar:bad0 (not a readable video" in messages[0]


@pytest.mark.filterwarnings("ignore:Skipped a corrupt sample")
def test_too_many_corrupt_samples_stop_with_one_sentence(tmp_path: Path) -> None:
    write_mixed(tmp_path, corrupt=6, good=30)
    dataset = ShardDataset(tmp_path, CLIPS, max_corrupt_share=0.1)
    with pytest.raises(DataError) as raised:
        list(dataset)
    message = str(raised.value)
    assert message.count("\n") == 0
    assert message.startswith("6 of 20 ")  # not earlier, and not only at the end
    assert "allowed share of 0.1" in message
    assert "00000.tar:bad0" in message


def test_warnings_of_one_kind_become_silent(tmp_path: Path) -> None:
    write_mixed(tmp_path, corrupt=8, good=2)
    dataset = ShardDataset(tmp_path, CLIPS, max_corrupt_share=1.0)
    with pytest.warns(UserWarning) as caught:
        list(dataset)
    assert len(caught) == 5
    assert str(caught[4].message).endswith("Further ones are counted only.")


def test_a_small_set_is_judged_when_all_was_seen(tmp_path: Path) -> None:
    write_mixed(tmp_path, corrupt=1, good=4)
    stream = iter(ShardDataset(tmp_path, CLIPS, max_corrupt_share=0.1))
    with pytest.warns(UserWarning, match="bad0"):
        assert keys(list(itertools.islice(stream, 3))) == ["good0", "good1", "good2"]
    with pytest.raises(DataError, match="1 of 5"):
        next(stream)


def test_short_videos_are_skipped_and_empty_captions_used(tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as writer:
        writer.write("one", encode_lossless(numbered(1), 8), "text", {})
        writer.write("slow", encode_lossless(numbered(2), 30), "text", {})  # 1 tick at 8 fps
        writer.write("two", encode_lossless(numbered(2), 8), "  \n", {})
    dataset = ShardDataset(tmp_path, CLIPS)
    with pytest.warns(UserWarning) as caught:
        samples = list(dataset)
    assert [(s.key, s.caption) for s in samples] == [("two", "")]
    counts = dataset.stats.counts
    assert (counts.seen, counts.short, counts.empty_captions, counts.corrupt) == (3, 2, 1, 0)
    assert any("two (empty caption)" in str(w.message) for w in caught)


def test_data_without_one_usable_video_is_an_error(tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as writer:
        writer.write("one", encode_lossless(numbered(1), 8), "text", {})
    with pytest.warns(UserWarning), pytest.raises(DataError, match="None of the 1 samples"):
        list(ShardDataset(tmp_path, CLIPS))


@pytest.mark.parametrize("cut", ["within a file", "between files"])
def test_a_truncated_shard_is_counted_and_named_and_the_rest_is_read(
    tmp_path: Path, cut: str
) -> None:
    write_shards(tmp_path, videos=8, per_shard=4)
    first = tmp_path / "00000.tar"
    data = first.read_bytes()
    with tarfile.open(first) as tar:
        member = tar.getmembers()[6]  # the third video
    end = member.offset_data + 700 if cut == "within a file" else member.offset
    first.write_bytes(data[:end])
    dataset = ShardDataset(tmp_path, CLIPS, max_corrupt_share=0.5)
    with pytest.warns(UserWarning, match=r"00000.tar:\(shard\) \(the shard is truncated"):
        found = keys(list(dataset))
    assert found == ["k000", "k001", "k004", "k005", "k006", "k007"]
    assert dataset.stats.counts.corrupt == 1


def test_only_known_files_are_read_and_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    video = encode_lossless(numbered(3), 8)
    with tarfile.open(path, "w") as tar:
        for name, data in {
            "a.mp4": video,
            "a.txt": b"text",
            "a.pyd": b"cos\nsystem\n(S'exit 1'\ntR.",
            "b.txt": b"a caption without a video",
            "c.MKV": video,
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert [set(raw.files) for raw in read_shard(path)] == [{"mp4", "txt"}, {"txt"}, {"mkv"}]
    dataset = ShardDataset(tmp_path, CLIPS, max_corrupt_share=0.5)
    with pytest.warns(UserWarning, match=r"b \(no video among its files \(txt\)\)"):
        assert keys(list(dataset)) == ["a", "c"]


@pytest.mark.parametrize("source", ["pipe:cat x.tar", "https://example.org/0.tar", "s3://b/0.tar"])
def test_only_local_shards_are_read(source: str) -> None:
    with pytest.raises(UserError, match="local paths only"):
        ShardDataset(source, CLIPS)


def test_shards_are_found_by_folder_pattern_and_list(tmp_path: Path) -> None:
    write_shards(tmp_path, videos=3, per_shard=1)
    paths = [tmp_path / f"0000{n}.tar" for n in range(3)]
    assert expand(tmp_path) == paths
    assert expand(f"{tmp_path}/{{00000..00002}}.tar") == paths
    assert expand([str(paths[2]), paths[0]]) == [paths[2], paths[0]]
    (tmp_path / "empty").mkdir()
    for missing, text in [
        (tmp_path / "empty", "holds no .tar"),
        (tmp_path / "absent", "do not exist"),
        ([], "No shards"),
    ]:
        with pytest.raises(DataError, match=text):
            expand(missing)  # type: ignore[arg-type]


def test_the_same_samples_write_the_same_bytes(tmp_path: Path) -> None:
    write_shards(tmp_path / "a", videos=3, per_shard=2)
    write_shards(tmp_path / "b", videos=3, per_shard=2)
    for name in ("00000.tar", "00001.tar"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with tarfile.open(tmp_path / "a" / "00000.tar") as tar:
        assert tar.getnames() == [f"k00{n}.{e}" for n in (0, 1) for e in ("mp4", "txt", "json")]
        assert all(m.mtime == 0 and m.uid == 0 for m in tar.getmembers())


def test_an_error_leaves_no_unfinished_shard(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="mine"), ShardWriter(tmp_path, 2, first=7) as writer:
        for index in range(3):
            writer.write(f"k{index}", b"video", "text", {})
        raise RuntimeError("mine")
    assert [path.name for path in tmp_path.iterdir()] == ["00007.tar"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with (
        pytest.raises(UserError, match="No space left on device"),
        ShardWriter(tmp_path) as writer,
    ):
        writer.write("k", b"video", "text", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_fills_up_while_writing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No space left"), ShardWriter(tmp_path) as writer:
        (tmp_path / ".00000.tar.tmp").symlink_to("/dev/full")
        writer.write("k", bytes(100_000), "text", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["", "a.b", "a/", "a/.b", "./a", "__a__/b", "a/b.c"])
def test_keys_that_would_be_read_back_wrongly_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="key"), ShardWriter(tmp_path) as writer:
        writer.write(key, b"", "", {})
