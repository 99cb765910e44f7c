"""Each oddity of a tar: the table of docs/data.md, and what the messages say."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import warnings
from pathlib import Path

import pytest
from tars import CONTENTS, LINK, SYM, VIDEO, File, names, tar_bytes

from data_prep.shards.latents import LatentOptions, write_latents
from data_prep.sources.files import read_source
from data_prep.sources.rows import Problem, VideoEntry
from data_prep.sources.video2dataset import listed
from lightning_artv.data.index import open_index
from lightning_artv.data.members import Foreign
from lightning_artv.data.shards import ClipSettings, ShardDataset
from lightning_artv.data.tar import expand, read_shard
from lightning_artv.errors import DataError, UserError
from lightning_artv.networks.autoencoder import PixelUnshuffleAutoencoder
from lightning_artv.systems.artv.windows import NextFrame

TAR = tar_bytes(names("a.mp4", "a.txt", "b.mp4", "b.txt"))


@pytest.mark.parametrize(
    ("files", "samples", "foreign"),
    [
        (("a.mp4", "a.txt", "a.mp4", "a.txt"), ["a: mp4 txt", "a: mp4 txt"], 0),
        (("a.mp4", "a.mp4", "a.txt"), ["a: mp4", "a: mp4 txt"], 0),
        (("._a.mp4", "a.mp4", "d/._b.mp4", "d/b.mp4", "d/._b.txt", "d/b.txt"),
         ["a: mp4", "d/b: mp4 txt"], 0),
        (("a.MP4", "a.TXT", "a.Json"), ["a: json mp4 txt"], 0),
        (("./a.mp4", "a.txt", "././d/b.mp4", "./d/b.txt"), ["a: mp4 txt", "d/b: mp4 txt"], 0),
        (("d.x/a.mp4", "d.x/a.txt"), ["d.x/a: mp4 txt"], 0),
        (("v1.0.mp4", "v1.0.txt"), ["v1: !the first dot begins the extension"], 0),
        (("a.flv", "a.txt", "b.ts", "b.txt"), ["a: flv txt", "b: ts txt"], 0),
        (("a.jpg", "a.mp4", "a.txt"), ["a: mp4 txt"], 0),
        (("a.mp4", "b.mp4", "a.txt"), ["a: mp4", "b: mp4", "a: !(txt)"], 0),
        (("readme.md", "README", "a.mp4", "__notes__/b.mp4", ".c.mp4"), ["a: mp4"], 2),
    ],
)  # fmt: skip
def test_what_becomes_of_each_oddity(
    tmp_path: Path, files: tuple[str, ...], samples: list[str], foreign: int
) -> None:
    """The table of docs/data.md; `!` marks a refused sample."""
    path = tmp_path / "00000.tar"
    path.write_bytes(tar_bytes([File(name, CONTENTS["mp4"][0]) for name in files]))
    counted = Foreign()
    found = list(read_shard(path, foreign=counted))
    assert counted.count == foreign and len(found) == len(samples)
    for raw, words in zip(found, samples, strict=True):
        key, _, rest = words.partition(": ")
        assert raw.key == key
        if rest.startswith("!"):
            assert rest[1:] in raw.damage
        else:
            assert sorted(raw.files) == rest.split() and not raw.damage


def test_links_are_refused_with_the_way_to_pack_files(tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    files = [*names("a.mp4", "a.json"), File("a.txt", kind=SYM), File("b.mp4", kind=LINK)]
    path.write_bytes(tar_bytes(files))
    damage = [raw.damage for raw in read_shard(path)]
    assert [words.split(" is a link")[0] for words in damage] == ["a.txt", "b.mp4"]
    assert all("--hard-dereference" in words for words in damage)


def test_a_file_that_tar_was_given_twice_is_there_once(tmp_path: Path) -> None:
    source, path = tmp_path / "a.mp4", tmp_path / "00000.tar"
    source.write_bytes(VIDEO)
    with tarfile.open(path, "w") as tar:
        tar.add(source, "a.mp4")
        info = tarfile.TarInfo("a.mp4")
        info.type, info.linkname = LINK, "a.mp4"
        tar.addfile(info)
    (raw,) = read_shard(path)
    assert raw.files["mp4"] == VIDEO and not raw.damage


def test_tars_joined_by_cat_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    second = tar_bytes(names("c.mp4", "c.txt"), tarfile.GNU_FORMAT)
    path.write_bytes(TAR + second)
    assert [raw.key for raw in read_shard(path)] == ["a", "b", "c"]
    path.write_bytes(TAR + second[:700])
    *whole, last = read_shard(path)
    assert [raw.key for raw in whole] == ["a", "b"] and "truncated" in last.damage
    path.write_bytes(TAR + b"x" * 1024)
    assert "invalid header" in list(read_shard(path))[-1].damage


def test_a_sample_that_may_be_cut_is_not_used(tmp_path: Path) -> None:
    """A text that is missing because the tar breaks off would be trained on as no text."""
    path = tmp_path / "00000.tar"
    with tarfile.open(fileobj=io.BytesIO(TAR)) as tar:
        text = tar.getmembers()[3]
    for end in (text.offset, text.offset + 100, text.offset_data + 3):
        path.write_bytes(TAR[:end])
        found = list(read_shard(path))
        assert [raw.key for raw in found] == ["a", ""] and "truncated" in found[1].damage
        assert [raw.key for raw in map(open_index([path]).read, range(2))] == ["a", ""]


def test_a_sample_whose_text_is_cut_is_not_used_with_its_json(tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    data = tar_bytes(names("a.mp4", "a.json", "a.txt"))
    path.write_bytes(data[: data.index(b"a caption") + 3])
    (raw,) = read_shard(path)
    assert not raw.key and "truncated" in raw.damage


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gzip.compress(TAR, mtime=0), "compressed: unpack it (`gzip -dc`)"),
        (lzma.compress(TAR), "compressed: unpack it (`xz -dc`)"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"<!DOCTYPE html>" * 99, "it is no tar"),
        (b"", "it is empty"),
    ],
)
def test_what_is_no_tar_is_called_what_it_is(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "00000.tar"
    path.write_bytes(data)
    (raw,) = read_shard(path)
    assert words in raw.damage
    with warnings.catch_warnings(), pytest.raises(DataError) as raised:
        warnings.simplefilter("ignore")
        list(ShardDataset(path, ClipSettings(NextFrame(), (16, 16), None)))
    assert words in str(raised.value)


def test_foreign_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    path.write_bytes(tar_bytes(names("a.md", "b.md")))
    with pytest.raises(DataError, match=r"2 files belong to no sample, such as 'a.md' in 00000"):
        ShardDataset(path, ClipSettings(NextFrame(), (16, 16)))
    path.write_bytes(tar_bytes(names("a.mp4", "a.txt", "b.md")))
    with pytest.warns(UserWarning, match="1 files belong to no sample"):
        ShardDataset(path, ClipSettings(NextFrame(), (16, 16)))


def test_names_of_shards_that_are_none_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "00000.tar").write_bytes(TAR)
    (tmp_path / "train" / "._00000.tar").write_bytes(b"macOS")
    assert [path.name for path in expand(tmp_path / "train")] == ["00000.tar"]
    with pytest.raises(DataError, match="its folder train does: name"):
        expand(tmp_path)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "00000.tar.gz").write_bytes(gzip.compress(TAR))
    with pytest.raises(DataError, match=r"00000.tar.gz, which is compressed: unpack it"):
        expand(tmp_path / "packed")
    with pytest.raises(UserError, match="braces"):
        expand(f"{tmp_path}/{{00..01.tar")
    with pytest.raises(DataError, match="name a folder"):
        expand(f"{tmp_path}/*.tar")


def test_a_header_that_renames_all_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    with tarfile.open(path, "w", pax_headers={"path": "evil"}) as tar:
        tar.addfile(tarfile.TarInfo("a.mp4"))
    assert [raw.damage.partition(": ")[2] for raw in read_shard(path)] == [
        "a pax header renames all files: pack it again"
    ]


def test_a_key_of_several_folders_survives_latents(tmp_path: Path) -> None:
    """With the same key the same frames are chosen as from the videos."""
    keys = ["d/a", "d.x/" + "k" * 120, "é" * 60]
    files = [f for key in keys for f in names(f"{key}.mp4", f"{key}.json")]
    (tmp_path / "00000.tar").write_bytes(tar_bytes(files))
    options = LatentOptions("none", "0", (16, 16), None)
    report = write_latents(tmp_path, tmp_path / "out", PixelUnshuffleAutoencoder(2), options)
    assert report.encoded == 3 and not report.skipped
    stored = list(read_shard(tmp_path / "out" / "00000.tar"))
    assert [raw.key for raw in stored] == keys
    assert {raw.files["txt"] for raw in stored} == {b"of json"}


@pytest.mark.parametrize("beside", [File("a.json", kind=LINK), File("a.safetensors", b"x")])
def test_an_entry_is_its_own_samples_video(tmp_path: Path, beside: File) -> None:
    """Also where a sample before it, which cannot be used, has a video of the same name."""
    path = tmp_path / "00000.tar"
    first = [File("a.mp4", b"another video"), beside, File("a.txt", b"one")]
    path.write_bytes(tar_bytes([*first, *names("b.txt"), *names("a.mp4", "a.txt")]))
    refused, nothing, entry = listed(path)
    assert isinstance(refused, Problem) and isinstance(nothing, Problem)
    assert isinstance(entry, VideoEntry) and read_source(entry.path) == VIDEO
