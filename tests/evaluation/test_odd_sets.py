"""Lists, tables and annotations of real sets as people have them: other marks, other forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.sets.folder import read_folder
from evaluation.sets.msrvtt import read_msrvtt
from evaluation.sets.ucf101 import read_ucf101
from evaluation.sets.webvid import read_webvid
from lightning_artv.errors import DataError, UserError

ARCHERY, YOYO = "Archery/v_Archery_g01_c01.avi", "YoYo/v_YoYo_g01_c02.avi"


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def ucf(tmp_path: Path) -> Path:
    for name in ("Archery", "YoYo"):
        touch(*(tmp_path / f"UCF-101/{name}/v_{name}_g01_c0{k}.avi" for k in (1, 2)))
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{ARCHERY} 1\n\ufeff{YOYO} 2\n",  # two lists joined, each with a mark
        f"\u200b{ARCHERY}\u200e 1\n{YOYO} 2\n",
        f"/my data/UCF-101/{ARCHERY} 1\nC:\\my data\\UCF-101\\YoYo\\v_YoYo_g01_c02.avi 2 \r\n",
        f"{ARCHERY},1\n{YOYO};2\n",
        f"\"{ARCHERY}\", 1\n'{YOYO}'\n",
        f"# train\n\n{ARCHERY}\u00a01\n{YOYO}\t\t2  \n",
        f"1 {ARCHERY}\n{YOYO} 120 2\n",
        f"{ARCHERY} 1\r{YOYO} 2\r",
        "v_Archery_g01_c01\nv_YoYo_g01_c02.mp4\n",
        f"./{ARCHERY.upper()}\n././{YOYO}\n{YOYO}\n",
    ],
)
def test_lists_of_ucf101_name_two_videos(ucf: Path, text: str) -> None:
    (ucf / "trainlist01.txt").write_bytes(text.encode())
    assert [v.name for v in read_ucf101(ucf, "train01")] == [ARCHERY[:-4], YOYO[:-4]]
    (ucf / "trainlist01.txt").write_bytes(text.encode("utf-16"))
    assert len(read_ucf101(ucf, "train01")) == 2


def test_lists_of_ucf101_that_name_nothing_there(ucf: Path) -> None:
    (ucf / "trainlist01.txt").write_text("path label\nArch\u200bery/v.avi 1\n")
    with pytest.raises(DataError, match=r"2 of the 2 videos of '.*'path label'.*correct the list"):
        read_ucf101(ucf, "train01")
    (ucf / "trainlist01.txt").write_text("Arch\u200bery/v.avi 1\n")
    with pytest.raises(DataError, match=r"the first is 'Arch\\u200bery/v\.avi'"):
        read_ucf101(ucf, "train01")
    (ucf / "trainlist01.txt").write_text("\n# all\n")
    with pytest.raises(UserError, match="names no video"):
        read_ucf101(ucf, "train01")


def annotations(*sentences: tuple[str, str], **splits: Any) -> dict[str, Any]:
    return {
        "videos": [{"video_id": name, "split": split} for name, split in splits.items()],
        "sentences": [
            {"video_id": name, "sen_id": number, "caption": text}
            for number, (name, text) in enumerate(sentences)
        ],
    }


def msrvtt(root: Path, **files: Any) -> Path:
    touch(root / "v/video1.mp4", root / "v/video2.mp4")
    for name, content in files.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (root / f"{name}.json").write_bytes(data)
    return root


def test_both_official_files_of_msrvtt_in_one_folder(tmp_path: Path) -> None:
    train = annotations(("video2", "c"), ("video2", "d"), video2="train")
    test = annotations(("video1", "a"), ("video1", "b"), video1="test")
    root = msrvtt(tmp_path, train_val_videodatainfo=train, test_videodatainfo=test)
    assert [(v.name, v.captions) for v in read_msrvtt(root)] == [("video1", ("a", "b"))]
    every = {v.name: v.captions for v in read_msrvtt(root, "all")}
    assert every == {"video1": ("a", "b"), "video2": ("c", "d")}
    (root / "far/below").mkdir(parents=True)
    (root / "test_videodatainfo.json").rename(root / "far/below/test.json")
    assert [v.captions for v in read_msrvtt(root)] == [("a", "b")]
    (root / "video7.info.json").write_text('{"a": 1}\n{"a": 2}\n')
    notes: list[str] = []
    assert [v.captions for v in read_msrvtt(root, "test", notes.append)] == [("a", "b")]
    assert (
        "A file is left out. The json" in notes[0] and "video7.info.json' is not JSON" in notes[0]
    )


def test_msrvtt_says_what_it_leaves_out(tmp_path: Path) -> None:
    spoken = annotations(
        ("video1", "a"), ("video1", " \u200b"), ("video1", ""), ("video9", "z"), video1="test"
    )
    notes: list[str] = []
    (video,) = read_msrvtt(msrvtt(tmp_path, test=spoken), "test", notes.append)
    assert video.captions == ("a",)
    assert notes[0].startswith("2 lines of ") and "no caption" in notes[0]
    assert "1 videos have sentences" in notes[1] and "'video9'" in notes[1]


@pytest.mark.parametrize(
    ("name", "split"), [("video1", None), ("video1.mp4", "Test"), (" video1", " TEST ")]
)
def test_msrvtts_ids_and_splits_in_other_spellings(tmp_path: Path, name: str, split: Any) -> None:
    content = annotations((name, "a"), **{name: split})
    assert [(v.name, v.captions) for v in read_msrvtt(msrvtt(tmp_path, test=content))] == [
        ("video1", ("a",))
    ]


@pytest.mark.parametrize("spoilt", [{"video_id": ["x"]}, {"video_id": ""}, {"video_id": None}])
def test_msrvtts_ids_that_name_nothing(tmp_path: Path, spoilt: dict[str, Any]) -> None:
    content = {"videos": [spoilt], "sentences": []}
    with pytest.raises(UserError, match=r"test\.json' is no MSR-VTT json .* names nothing"):
        read_msrvtt(msrvtt(tmp_path, test=content))
    content = annotations(("video1", "a"), video1="test")
    content["sentences"][0]["sen_id"] = float("inf")
    with pytest.raises(UserError, match=r"test\.json' is no MSR-VTT json .*infinity"):
        read_msrvtt(msrvtt(tmp_path, test=content))


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16"])
def test_webvids_table_in_other_spellings(tmp_path: Path, coding: str) -> None:
    touch(tmp_path / "videos/p/7.mp4", tmp_path / "videos/p/8.mp4")
    table = tmp_path / "results.csv"
    table.write_text("Video\u200bId\tName\r\n7.mp4\tone\r\n 8\u200e\t \u200b\r\n", coding)
    notes: list[str] = []
    found = {v.name: v.captions for v in read_webvid(tmp_path, notes.append)}
    assert found == {"7": ("one",), "8": ()}
    assert notes == [
        f"1 lines of '{table}' have no caption and are left out, the first is that of '8'."
    ]
    table.write_text("videoid,name\n7,one\n,two\n")
    with pytest.raises(UserError, match="a line without a videoid"):
        read_webvid(tmp_path)
    table.write_text("videoid,name\n")
    with pytest.raises(UserError, match="lists no videos"):
        read_webvid(tmp_path)


def test_a_folders_names_may_have_invisible_marks(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    (tmp_path / "metadata.csv").write_text("file_name,text\n\u200b a.mp4\u200e,one\na,\u200b\n")
    notes: list[str] = []
    assert [v.captions for v in read_folder(tmp_path, notes.append)] == [("one",)]
    assert len(notes) == 1 and notes[0].startswith("1 lines of ")
