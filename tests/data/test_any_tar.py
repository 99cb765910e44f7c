"""Any tar that Python writes: one grouping for index, `read_shard`, source and latents."""

from __future__ import annotations

import tarfile
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tars import CONTENTS, DIR, FORMATS, LINK, REG, SYM, VIDEO, File, tar_bytes

from data_prep.shards.latents import LatentOptions, write_latents
from data_prep.sources import list_source
from data_prep.sources.files import read_source
from data_prep.sources.rows import Problem, VideoEntry, key_of
from data_prep.sources.video2dataset import listed
from lightning_artv.data.captions import BadCaption, caption_of
from lightning_artv.data.decode import DecodeError, Video
from lightning_artv.data.index import open_index, scan_shard
from lightning_artv.data.members import KNOWN, Foreign
from lightning_artv.data.shards import ClipSettings, ShardDataset
from lightning_artv.data.tar import RawSample, read_shard
from lightning_artv.errors import DataError
from lightning_artv.networks.autoencoder import PixelUnshuffleAutoencoder
from lightning_artv.systems.artv.windows import NextFrame

STEMS = st.sampled_from(
    [
        "a",
        "b",
        "./a",
        "././b",
        "d/a",
        "d.x/c",
        "v1",
        "._a",
        "d/._a",
        "./._b",
        ".hidden",
        "__m__/a",
        "é" * 60,
        "long/" * 40 + "d",
        "d/" + "k" * 120,
        "two\nlines",
        "../a",
        "/a",
        " a",
        "é",
    ]
) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
SUFFIXES = st.sampled_from(
    [f".{s}" for s in CONTENTS] + [".MP4", ".TXT", ".Json", ".0.mp4", "", "/"]
)


@st.composite
def any_file(draw: st.DrawFn) -> File:
    suffix = draw(SUFFIXES)
    contents = CONTENTS.get(suffix.rpartition(".")[2].lower(), (b"x",))
    kinds = st.sampled_from([REG] * 8 + [LINK, SYM, DIR, tarfile.FIFOTYPE])
    name = draw(STEMS) + suffix
    return File(name, draw(st.sampled_from(contents)), draw(kinds), draw(st.booleans()))


@st.composite
def any_sample(draw: st.DrawFn) -> list[File]:
    """The files of one key, as people's tars have them."""
    stem, folder = draw(STEMS), draw(st.booleans())
    suffixes = draw(st.lists(SUFFIXES, min_size=1, max_size=4))
    files = [File(stem + s, CONTENTS.get(s[1:].lower(), (b"x",))[0]) for s in suffixes]
    return [File("folder/", kind=DIR)] * folder + files


FILES = st.lists(any_sample() | any_file().map(lambda f: [f]), max_size=6).map(
    lambda parts: [file for part in parts for file in part]
)
TARS = st.lists(st.tuples(FILES, st.sampled_from(FORMATS), st.sampled_from(["", "é"])), min_size=1,
                max_size=3)  # fmt: skip


def joined(tars: list[tuple[list[File], int, str]]) -> bytes | None:
    """The tars, joined as by `cat`; None where a format has no room for a name.

    An empty tar gets no comment: Python could not read it either.
    """
    try:
        return b"".join(tar_bytes(files, kind, note if files else "") for files, kind, note in tars)
    except (ValueError, UnicodeError):
        return None


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(tars=TARS)
def test_all_readers_agree_on_any_tar(tars: list[tuple[list[File], int, str]]) -> None:
    """Read back equal, or refused in one sentence; nothing is lost uncounted."""
    data = joined(tars)
    if data is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "00000.tar")
        path.write_bytes(data)
        foreign = Foreign()
        samples = list(read_shard(path, foreign=foreign))
        assert not any(raw.damage for raw in samples if not raw.key)
        found = [file for files, *_ in tars for file in files]
        assert [(raw.key, *sorted(raw.files.items())) for raw in samples] == list(expected(found))
        account(found, samples, foreign)
        agree(path, samples, foreign)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(tars=TARS, kept=st.floats(0, 1), flip=st.none() | st.tuples(st.floats(0, 1), st.binary(
    min_size=1, max_size=600)))  # fmt: skip
def test_all_readers_agree_on_damaged_tars(
    tars: list[tuple[list[File], int, str]], kept: float, flip: tuple[float, bytes] | None
) -> None:
    data = joined(tars)
    if data is None:
        return
    if flip is not None:
        at = int(flip[0] * len(data))
        data = data[:at] + flip[1] + data[at + len(flip[1]) :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "00000.tar")
        path.write_bytes(data[: int(kept * len(data))])
        foreign = Foreign()
        agree(path, list(read_shard(path, foreign=foreign)), foreign)


def plain(name: str) -> tuple[str, str] | None:
    """(key, extension) by the rule in words; None for hidden files and notes."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    folder, slash, base = name.rpartition("/")
    if base.startswith(".") or (name.startswith("__") and name.split("/")[0][2:].endswith("__")):
        return None
    stem, dot, suffix = base.partition(".")
    return (folder + slash + stem, suffix.lower()) if stem and dot else (name, "")


def expected(files: list[File]) -> Iterator[tuple[object, ...]]:
    """(key, *(extension, contents)) of each sample, by the rule in words."""
    groups: list[tuple[str, dict[str, bytes], list[str]]] = []
    for file in files:
        split = plain(file.name.rstrip("/") if file.kind == DIR else file.name)
        if file.kind == DIR or split is None or not split[1]:
            continue
        key, suffix = split
        known, regular = suffix in KNOWN, file.kind == REG
        if not groups or groups[-1][0] != key or (suffix in groups[-1][1]):
            groups.append((key, {}, []))
        if known and regular:
            groups[-1][1][suffix] = file.data
        elif known or suffix.rpartition(".")[2] in KNOWN:
            groups[-1][2].append(suffix)
    for key, contents, refused in groups:
        if contents or refused:
            yield (key, *sorted(contents.items()))


def account(files: list[File], samples: list[RawSample], foreign: Foreign) -> None:
    """Each file is in a sample, refused with one, foreign, or hidden by a stated rule."""
    known = [f for f in files if f.kind == REG and (s := plain(f.name)) and s[1] in KNOWN]
    assert sum(len(raw.files) for raw in samples) == len(known)
    for raw in samples:
        assert bool(raw.content) or raw.damage
        assert "\n" not in raw.damage
    nameless = [f for f in files if f.kind != DIR and (s := plain(f.name)) and not s[1]]
    assert foreign.count >= len(nameless)


def agree(path: Path, samples: list[RawSample], foreign: Foreign) -> None:
    """The index, the source, the latents and the training stream find what `read_shard` found."""
    index = open_index([path])
    assert [index.read(n) for n in range(len(index))] == samples
    assert scan_shard(path).foreign == foreign.count and bool(index.foreign) == bool(foreign.count)
    as_a_source(path, samples, foreign)
    usable = as_latents(path, samples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = ShardDataset(path, ClipSettings(NextFrame(), (16, 16), None), 0, 0, 1.0, False)
            assert [s.key for s in data] == usable
            counts = data.stats.counts
            assert (counts.seen, counts.used) == (len(samples), len(usable))
        except DataError as error:
            assert not usable and "\n" not in str(error)


def as_a_source(path: Path, samples: list[RawSample], foreign: Foreign) -> None:
    items, stopped = until_stopped(listed(path))
    assert not stopped or not any(isinstance(item, VideoEntry) for item in items)
    assert len(items) == len(samples) + bool(foreign.count)
    for item, raw in zip(items, samples, strict=False):
        assert isinstance(item, VideoEntry | Problem)
        if isinstance(item, Problem):
            assert "\n" not in item.reason + item.key
            continue
        assert item.key == key_of(raw.key) and item.caption == caption_of(raw.files).text
        stored = raw.files[raw.content]
        if stored:
            assert read_source(item.path) == stored
    assert len(until_stopped(list_source("video2dataset", path))[0]) == len(items)


def until_stopped(
    items: Iterator[VideoEntry | Problem],
) -> tuple[list[VideoEntry | Problem], bool]:
    """The items, and whether a set without captions ended them."""
    found: list[VideoEntry | Problem] = []
    try:
        for item in items:
            found.append(item)
    except DataError as error:
        assert "Not one of the samples has a caption" in str(error) and "\n" not in str(error)
        return found, True
    return found, False


def as_latents(path: Path, samples: list[RawSample]) -> list[str]:
    """The keys of the samples that can be used."""
    usable = [raw for raw in samples if not raw.damage and _decodes(raw) and _has_text(raw)]
    out = path.parent / "out"
    options = LatentOptions("none", "0", (16, 16), None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = write_latents(path, out, PixelUnshuffleAutoencoder(2), options, 16, False)
    except DataError as error:
        assert not usable and "\n" not in str(error)
        return []
    assert report.encoded == len(usable) and report.encoded + len(report.skipped) == len(samples)
    assert len(str(report).splitlines()) <= 3 + len(report.skipped)
    stored = list(read_shard(out / "00000.tar"))
    assert [raw.key for raw in stored] == [raw.key for raw in usable]
    for one, two in zip(stored, usable, strict=True):
        assert caption_of(one.files).text == caption_of(two.files).text
    return [raw.key for raw in usable]


def _decodes(raw: RawSample) -> bool:
    """Whether its video does; with a byte changed it may or may not."""
    data = raw.files.get(raw.content, b"")
    if data == VIDEO or len(data) != len(VIDEO):
        return data == VIDEO
    try:
        with Video(data) as video:
            return len(video.frames(range(len(video.timestamps)))) >= NextFrame().least
    except DecodeError:
        return False


def _has_text(raw: RawSample) -> bool:
    try:
        return bool(caption_of(raw.files)) or True
    except BadCaption:
        return False
