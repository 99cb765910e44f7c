"""Sources whose folders and lists differ a little from the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.sources import list_source
from data_prep.sources.rows import Problem
from lightning_artv.errors import UserError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_ucf101_below_the_folder_that_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "UCF-101/Archery/v_Archery_g01_c01.avi", tmp_path / "lists/classInd.txt")
    (entry,) = list_source("ucf101", tmp_path)
    assert not isinstance(entry, Problem)
    assert (entry.key, entry.label) == ("v_Archery_g01_c01", "Archery")
    assert Path(entry.path).is_file()


def test_ucf101_with_folders_of_videos_in_class_folders(tmp_path: Path) -> None:
    touch(tmp_path / "Archery/v_Archery_g01/v_Archery_g01_c01.avi")
    with pytest.raises(UserError, match=r"a folder of videos .*: move them up into Archery"):
        list(list_source("ucf101", tmp_path))
    touch(tmp_path / "YoYo/v_YoYo_g01_c01.avi")
    found = list(list_source("ucf101", tmp_path))
    assert [item.key for item in found] == ["Archery%2Fv_Archery_g01", "v_YoYo_g01_c01"]


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("webvid", "video\u200bid,name,page_dir\n\u200b7,a man,p\u200e\n"),
        ("openvid", "\u200bvideo,caption\n p/7.mp4\u200e,a man\n"),
    ],
)
def test_names_with_invisible_marks(kind: str, row: str, tmp_path: Path) -> None:
    touch(tmp_path / "videos/p/7.mp4")
    (tmp_path / "list.csv").write_text(row)
    (entry,) = list_source(kind, tmp_path / "list.csv")
    assert not isinstance(entry, Problem), entry
    assert Path(entry.path) == tmp_path / "videos/p/7.mp4"
