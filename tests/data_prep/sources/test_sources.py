"""Every source lists all its videos, and says what it cannot use and why."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import tarfile
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.sources import KINDS, list_source
from data_prep.sources.checks import Seen
from data_prep.sources.files import read_source
from data_prep.sources.rows import PROBLEM_KINDS, Problem, VideoEntry, is_unsafe, key_of
from data_prep.sources.ucf101 import words
from data_prep.sources.webvid import seconds
from lightning_artv.errors import UserError
from lightning_artv.files import one_line

WEBVID = "videoid,name,page_idx,page_dir,duration,contentUrl"
OPENVID = (
    "video,caption,aesthetic score,motion score,temporal consistency score,camera motion,"
    "frame,fps,seconds,new id"
)


def listing(kind: str, path: Path, videos: Path | None = None) -> list[VideoEntry | Problem]:
    return list(list_source(kind, path, videos))


def split(found: list[VideoEntry | Problem]) -> tuple[list[VideoEntry], list[Problem]]:
    entries = [item for item in found if isinstance(item, VideoEntry)]
    problems = [item for item in found if isinstance(item, Problem)]
    assert all(problem.kind in PROBLEM_KINDS and problem.reason for problem in problems)
    return entries, problems


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def webvid(folder: Path, rows: list[tuple[str, str, str]], encoding: str = "utf-8") -> Path:
    """A WebVid CSV of (videoid, page_dir, name), written by the csv module, and its files."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(WEBVID.split(","))
    for video, page, name in rows:
        writer.writerow([video, name, "3", page, "PT00H00M15S", "https://example.com/v.mp4"])
        if not is_unsafe(page):
            touch(folder / "videos" / page / f"{video}.mp4")
    path = folder / "results.csv"
    path.write_bytes(buffer.getvalue().encode(encoding))
    return path


def test_webvid(tmp_path: Path) -> None:
    path = webvid(tmp_path, [("21179416", "006001_006050", "Aerial, shot"), ("7", "p", "two")])
    first, second = listing("webvid", path)
    assert first == VideoEntry(
        key="21179416",
        path=str(tmp_path / "videos/006001_006050/21179416.mp4"),
        caption="Aerial, shot",
        duration=15.0,
        page_dir="006001_006050",
    )
    assert isinstance(second, VideoEntry) and second.key == "7"
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "videos").rename(elsewhere)
    assert split(listing("webvid", path, elsewhere))[0][0].path.startswith(str(elsewhere))
    assert {p.kind for p in split(listing("webvid", path))[1]} == {"missing_file"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("PT00H00M15S", 15.0),
        ("PT01H02M03.5S", 3723.5),
        ("PT7S", 7.0),
        ("12.5", 12.5),
        ("P", None),
        ("PT", None),
        ("soon", None),
        ("inf", None),
        ("", None),
    ],
)
def test_webvid_durations(text: str, wanted: float | None) -> None:
    assert seconds(text) == wanted


captions = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=60
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(texts=st.lists(captions, min_size=1, max_size=5), bom=st.booleans())
def test_captions_of_any_script_survive(tmp_path: Path, texts: list[str], bom: bool) -> None:
    rows = [(str(number), "page", text) for number, text in enumerate(texts)]
    path = webvid(tmp_path, rows, "utf-8-sig" if bom else "utf-8")
    found = listing("webvid", path)
    assert len(found) == len(texts)
    for item, text in zip(found, texts, strict=True):
        if one_line(text):
            assert isinstance(item, VideoEntry)
            assert item.caption == one_line(text)
        else:
            assert isinstance(item, Problem) and item.kind == "empty_caption"


def test_commas_quotes_newlines_and_scripts(tmp_path: Path) -> None:
    texts = ['a "quoted", word', "two\nlines", "कुत्ता दौड़ता है", "猫が走る", "كلب يجري", "🐶\u200d🦺"]
    rows = [(str(number), "page", text) for number, text in enumerate(texts)]
    entries, problems = split(listing("webvid", webvid(tmp_path, rows)))
    assert not problems
    assert [entry.caption for entry in entries] == [one_line(text) for text in texts]


def test_every_bad_row_is_named_and_the_others_are_listed(tmp_path: Path) -> None:
    path = webvid(
        tmp_path,
        [
            ("1", "page", "good"),
            ("1", "page", "again"),
            ("2", "page", " \n "),
            ("3", "../page", "outside"),
            ("4", "/etc", "absolute"),
            ("", "page", "no name"),
            ("9", "page", "last"),
        ],
    )
    with path.open("ab") as file:
        file.write(b"5,an unquoted, comma,1,page,PT1S,url\r\n")
        file.write("6,собака бежит,1,page,PT1S,url\r\n".encode("cp1251"))
        file.write(b"7,lost,1,page,PT1S,url\r\n")
    found = listing("webvid", path)
    entries, problems = split(found)
    assert len(found) == 10
    assert [entry.key for entry in entries] == ["1", "9"]
    assert [(problem.key, problem.kind) for problem in problems] == [
        ("1", "duplicate_key"),
        ("2", "empty_caption"),
        ("3", "unsafe_path"),
        ("4", "unsafe_path"),
        ("line 8", "bad_row"),
        ("line 10", "bad_row"),
        ("6", "not_utf8"),
        ("7", "missing_file"),
    ]
    for problem in problems:
        (problem.key + problem.path + problem.reason).encode()  # can be written anywhere


def test_an_unclosed_quote_loses_its_row_only_as_far_as_csv_must(tmp_path: Path) -> None:
    path = webvid(tmp_path, [("1", "page", "good")])
    touch(tmp_path / "videos/page/8.mp4")
    with path.open("a", newline="") as file:
        file.write('2,"open,1,page,PT1S,url\r\n' + "x" * 200_000 + "\r\n")
        file.write("8,after,1,page,PT1S,url\r\n")
    entries, problems = split(listing("webvid", path))
    assert [entry.key for entry in entries] == ["1", "8"]
    assert {problem.kind for problem in problems} == {"bad_row"}


def test_openvid(tmp_path: Path) -> None:
    path = tmp_path / "OpenVid-1M.csv"
    path.write_text(
        OPENVID + "\n"
        'celebv_-1_0.mp4,"A man, talking",5.25,4.5,0.98,pan_left,120,24.0,5.0,7\n'
        "b.c.mp4,plain,,nan,x,,,,,\n"
    )
    touch(tmp_path / "videos/celebv_-1_0.mp4", tmp_path / "videos/b.c.mp4")
    first, second = listing("openvid", path)
    assert first == VideoEntry(
        key="celebv_-1_0",
        path=str(tmp_path / "videos/celebv_-1_0.mp4"),
        caption="A man, talking",
        duration=5.0,
        aesthetic=5.25,
        source_motion=4.5,
        temporal_consistency=0.98,
        camera_motion="pan_left",
    )
    assert second == VideoEntry("b%2Ec", str(tmp_path / "videos/b.c.mp4"), "plain")


def test_a_folder_with_csv_or_json_lines(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "sub/b.mkv", tmp_path / "c d.mp4")
    (tmp_path / "metadata.csv").write_bytes(
        "\ufefffile_name,text\na.mp4,one\nsub/b.mkv,two\nc d.mp4,three\n../x.mp4,four\n".encode()
    )
    entries, problems = split(listing("folder", tmp_path))
    assert [(entry.key, entry.caption) for entry in entries] == [
        ("a", "one"),
        ("sub%2Fb", "two"),
        ("c%20d", "three"),
    ]
    assert [problem.kind for problem in problems] == ["unsafe_path"]
    (tmp_path / "metadata.csv").unlink()
    lines = [
        json.dumps({"file_name": "a.mp4", "text": "eins"}),
        "",
        "{not json",
        "[1]",
        json.dumps({"file_name": "a.mp4"}),
        '{"file_name": "c d.mp4", "text": "half a pair \\ud83d"}',
        json.dumps({"file_name": "sub/b.mkv", "text": "zwei"}),
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    entries, problems = split(listing("folder", tmp_path))
    assert [(entry.path, entry.caption) for entry in entries] == [
        (str(tmp_path / "a.mp4"), "eins"),
        (str(tmp_path / "sub/b.mkv"), "zwei"),
    ]
    kinds = [(problem.key, problem.kind) for problem in problems]
    assert kinds == [
        ("line 3", "bad_row"),
        ("line 4", "bad_row"),
        ("line 5", "bad_row"),
        ("c%20d", "not_utf8"),
    ]


def test_ucf101_labels_are_folders_whatever_the_files_are_called(tmp_path: Path) -> None:
    for name in ("HandstandPushups/v_HandStandPushups_g01_c01.avi", "YoYo/v_YoYo_g25_c05.avi"):
        touch(tmp_path / name)
    (tmp_path / "readme.txt").write_text("no class")
    first, second = split(listing("ucf101", tmp_path))[0]
    assert first == VideoEntry(
        key="v_HandStandPushups_g01_c01",
        path=str(tmp_path / "HandstandPushups/v_HandStandPushups_g01_c01.avi"),
        caption="handstand pushups",
        label="HandstandPushups",
    )
    assert (second.label, second.caption) == ("YoYo", "yo yo")
    (tmp_path / "HandstandPushups").rename(tmp_path / "HandStandPushups")
    renamed = split(listing("ucf101", tmp_path))[0][0]
    assert (renamed.label, renamed.caption) == (first.label, first.caption)
    assert Path(renamed.path).is_file()
    assert words("PlayingDhol") == "playing dhol"


def test_ucf101_in_other_files_is_read_and_what_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no class folders with videos, such as Archery/"):
        listing("ucf101", tmp_path)
    touch(tmp_path / "Archery/v_Archery_g01_c01/00001.jpg")
    with pytest.raises(UserError, match=r"Archery/v_Archery_g01_c01: it is a folder, not a video"):
        listing("ucf101", tmp_path)
    names = ("Archery/v_Archery_g01_c02.mp4", "Archery/._v.avi", "Archery/x.txt", "stray.MP4")
    touch(*(tmp_path / name for name in names))
    entries, problems = split(listing("ucf101", tmp_path))
    assert [(e.key, e.label) for e in entries] == [("v_Archery_g01_c02", "Archery")]
    assert [(p.key, p.kind) for p in problems] == [
        ("Archery%2Fv_Archery_g01_c01", "bad_row"),
        ("stray", "bad_row"),
    ]
    touch(tmp_path / "Archery/v_Archery_g01_c02.avi")  # in both: both are kept
    keys = [entry.key for entry in split(listing("ucf101", tmp_path))[0]]
    assert keys == ["v_Archery_g01_c02", "v_Archery_g01_c02%2Emp4"]


def test_msrvtt(tmp_path: Path) -> None:
    path = tmp_path / "test_videodatainfo.json"
    content = {
        "videos": [
            {"video_id": "video1", "split": "train", "start time": 10.5, "end time": 20.0},
            {"video_id": "video2", "split": "test"},
            {"video_id": "video3"},
            {"id": 4},
        ],
        "sentences": [
            {"video_id": "video3", "caption": "half a pair \ud83d"},
            {"video_id": "video2", "caption": "  ", "sen_id": 0},
            {"video_id": "video2", "caption": "second is first", "sen_id": 1},
            {"video_id": "video1", "caption": "a man", "sen_id": 2},
            {"video_id": "video1", "caption": "other words", "sen_id": 3},
            "damage",
        ],
    }
    path.write_text(json.dumps(content))
    touch(*(tmp_path / f"videos/video{n}.mp4" for n in (1, 2, 3)))
    entries, problems = split(listing("msrvtt", path))
    assert [(e.key, e.caption, e.split, e.duration) for e in entries] == [
        ("video1", "a man", "train", 9.5),
        ("video2", "second is first", "test", None),
    ]
    assert [problem.kind for problem in problems] == ["not_utf8", "bad_row"]


def shard(path: Path, files: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_video2dataset(tmp_path: Path) -> None:
    shard(
        tmp_path / "00000.tar",
        [
            ("000000000.mp4", b"video"),
            ("000000000.txt", "ein Hund, läuft\n".encode()),
            ("000000000.json", b'{"caption": "not this", "duration": 3.5}'),
            ("000000001.json", b'{"caption": "from json"}'),
            ("000000001.webm", b"video"),
            ("000000002.txt", b"no video"),
            ("000000003.mp4", b"video"),
            ("000000003.txt", "собака".encode("cp1251")),
        ],
    )
    table = {
        "key": ["000000000", "000000001", "000000002", "000000003", "000000004"],
        "status": ["success", "success", "success", "success", "failed_to_download"],
        "error_message": [None, None, None, None, "HTTP Error 404"],
    }
    pq.write_table(pa.table(table), tmp_path / "00000.parquet")
    shard(tmp_path / "00001.tar", [("000010000.mp4", b"video"), ("000010000.txt", b"cut")])
    whole = (tmp_path / "00001.tar").read_bytes()
    (tmp_path / "00001.tar").write_bytes(whole[:1100])
    entries, problems = split(listing("video2dataset", tmp_path))
    assert entries == [
        VideoEntry(
            "000000000", f"{tmp_path}/00000.tar::000000000.mp4", "ein Hund, läuft", duration=3.5
        ),
        VideoEntry("000000001", f"{tmp_path}/00000.tar::000000001.webm", "from json"),
    ]
    assert [(problem.key, problem.kind) for problem in problems] == [
        ("000000002", "bad_row"),
        ("000000003", "not_utf8"),
        ("000000004", "not_downloaded"),
        ("00001.tar", "damaged_shard"),
    ]
    assert "404" in problems[2].reason


def test_video2dataset_tells_why_a_row_is_not_in_its_shard(tmp_path: Path) -> None:
    """A table of all shards, or one saved by pandas, is no failed download."""
    files = [(f"00000/{n:09d}.{end}", b"x") for n in (0, 7) for end in ("mp4", "txt")]
    shard(tmp_path / "00000.tar", files)
    for keys in (["000000000", "000000007", "000000012"], [0, 7, 12]):
        table = {"key": keys, "status": ["success"] * 3}
        pq.write_table(pa.table(table), tmp_path / "00000.parquet")
        entries, problems = split(listing("video2dataset", tmp_path))
        assert [entry.key for entry in entries] == ["00000%2F000000000", "00000%2F000000007"]
        assert [(problem.key, problem.kind) for problem in problems] == [
            (str(keys[2]), "missing_file")
        ]
        assert "the table is of other shards too" in problems[0].reason
    table = {"key": ["000000000"]}  # a subset: what it does not list is used
    pq.write_table(pa.table(table), tmp_path / "00000.parquet")
    entries, problems = split(listing("video2dataset", tmp_path))
    assert len(entries) == 2 and not problems


def test_a_video_that_is_twice_in_a_shard_comes_with_its_own_caption(tmp_path: Path) -> None:
    files = [("a.mp4", b"one"), ("a.txt", b" "), ("a.mp4", b"two"), ("a.txt", b"of two")]
    shard(tmp_path / "00000.tar", [*files, ("b.mp4", b"three"), ("b.txt", b"of three")])
    entries, problems = split(listing("video2dataset", tmp_path))
    assert [(read_source(entry.path), entry.caption) for entry in entries] == [
        (b"three", "of three")
    ]
    assert [problem.kind for problem in problems] == ["empty_caption", "duplicate_key"]


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("webvid", None, "cannot be read"),
        ("msrvtt", None, "There is no list"),
        ("webvid", b"", "lacks the columns videoid, name, page_dir"),
        ("webvid", b"videoid,name\n1,a\n", "lacks the column page_dir"),
        ("webvid", WEBVID.encode("utf-16-le"), "not UTF-8"),
        ("openvid", b"video\n", "lacks the column caption"),
        ("msrvtt", b"{", "not JSON"),
        ("msrvtt", b"[]", "needs `videos` and `sentences`"),
        ("folder", b"file", "does not exist"),
        ("ucf101", b"file", "does not exist"),
        ("cats", b"", "A source is one of webvid"),
    ],
)
def test_a_list_that_is_none_is_one_sentence(
    tmp_path: Path, kind: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / "list"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        listing(kind, path)


def test_a_folder_kind_takes_no_other_folder_of_videos(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave the videos folder out"):
        listing("folder", tmp_path, tmp_path)
    assert len(KINDS) == 6


@given(names=st.lists(st.text(min_size=1, max_size=150), min_size=2, max_size=6, unique=True))
def test_keys_are_safe_and_differ_where_names_do(names: list[str]) -> None:
    paths = ["x" + name.replace("/", "_").encode("utf-8", "replace").decode() for name in names]
    keys = {path: key_of(path + ".mp4") for path in paths}
    assert len(set(keys.values())) == len(set(paths))
    for key in keys.values():
        assert not set("./\\ \n\t") & set(key)
        assert len(f"{key}.json".encode()) <= 100


@pytest.mark.parametrize(
    ("path", "unsafe"),
    [
        ("a/b.mp4", False),
        ("a..b/c.mp4", False),
        ("../a.mp4", True),
        ("a/../../b.mp4", True),
        ("a\\..\\b.mp4", True),
        ("/a.mp4", True),
        ("a\0.mp4", True),
    ],
)
def test_unsafe_paths(path: str, unsafe: bool) -> None:
    assert is_unsafe(path) is unsafe


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 65_535)), max_size=300))
def test_seen_is_a_dict_of_first_numbers(items: list[tuple[str, int]]) -> None:
    seen, truth = Seen(), dict[str, int]()
    for text, number in items:
        text = text.encode("utf-8", "replace").decode()
        assert seen.first(text, number) == truth.get(text)
        truth.setdefault(text, number)


def test_files_that_differ_in_their_suffix_are_both_kept(tmp_path: Path) -> None:
    names = ["a.mp4", "a.mov", "a.mov.mp4", "x/a.mov", "a.mp4", "a.mov", "b" * 100 + ".mp4"]
    names += ["b" * 100 + ".mov"]
    touch(*(tmp_path / name for name in names))
    lines = "".join(f"{name},caption\n" for name in names)
    (tmp_path / "metadata.csv").write_text("file_name,text\n" + lines)
    entries, problems = split(listing("folder", tmp_path))
    assert [Path(entry.path).relative_to(tmp_path).as_posix() for entry in entries] == [
        name for place, name in enumerate(names) if place not in (4, 5)
    ]
    keys = [entry.key for entry in entries]
    assert keys[:4] == ["a", "a%2Emov", "a%2Emov%2Emp4", "x%2Fa"]
    assert len(set(keys)) == 6 and all(len(f"{key}.json") <= 100 for key in keys)
    assert [problem.kind for problem in problems] == ["duplicate_key", "duplicate_key"]


def test_a_list_in_another_form_is_the_same_list(tmp_path: Path) -> None:
    path = webvid(tmp_path, [("1", "p", 'one, "two"; three'), ("2", "p", "zwei\nß")])
    wanted = listing("webvid", path)
    assert len(split(wanted)[0]) == 2 and wanted[0].duration == 15.0  # type: ignore[union-attr]
    text = path.read_text(encoding="utf-8")
    path.write_bytes(gzip.compress(text.replace("duration", "Duration").encode("utf-16")))
    assert listing("webvid", path) == wanted
    rows = list(csv.reader(io.StringIO(text, newline="")))
    columns = {name: [row[place] for row in rows[1:]] for place, name in enumerate(rows[0])}
    pq.write_table(pa.table({**columns, "videoid": [1, 2]}), path)
    assert listing("webvid", path) == wanted


def test_a_long_list_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 rows take the table of their keys and no more: 24 bytes each, twice while it grows."""
    path = tmp_path / "results.csv"
    with path.open("w") as file:
        file.write(WEBVID + "\n")
        for number in range(5_000):
            file.write(f"{number},a caption of number {number},1,page,PT00H00M15S,url\n")
    monkeypatch.setattr(os.path, "isfile", lambda path: True)
    tracemalloc.start()
    count = sum(isinstance(item, VideoEntry) for item in list_source("webvid", path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 5_000
    assert peak < 5_000 * 60 + 300_000


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    webvid(tmp_path, [("1", "page", "good")])
    monkeypatch.chdir(tmp_path)
    (entry,) = split(listing("webvid", Path("results.csv")))[0]
    assert os.path.isabs(entry.path) and os.path.isfile(entry.path)
