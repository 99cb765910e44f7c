"""Real sets in their own layouts, and the videos that a protocol takes of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniature import write_ucf101

from evaluation.finding import SetVideo
from evaluation.plan import plan_samples
from evaluation.prompts import ucf101_classes
from evaluation.protocols import PRESETS
from evaluation.sets import apportion, read_folder, read_split, sample, sampled
from evaluation.sets.msrvtt import read_msrvtt
from evaluation.sets.ucf101 import read_ucf101
from evaluation.sets.webvid import read_webvid
from lightning_artv.errors import DataError, UserError

SIZES = {name: 100 + 7 * i % 68 for i, name in enumerate(ucf101_classes())}
"""Like UCF-101's: 101 classes of 100 to 167 videos."""


def touch_ucf101(root: Path, sizes: dict[str, int]) -> Path:
    """The tree alone, with empty files."""
    for name, size in sizes.items():
        (root / "UCF-101" / name).mkdir(parents=True)
        stem = "HandStandPushups" if name == "HandstandPushups" else name
        for k in range(size):
            (root / "UCF-101" / name / f"v_{stem}_g{k // 7 + 1:02d}_c{k % 7 + 1:02d}.avi").touch()
    return root


def msrvtt(root: Path, captions: int = 20) -> Path:
    """Three test videos (and one for training) in MSR-VTT's layout."""
    names = ["video7010", "video7011", "video10000"]
    (root / "TestVideo").mkdir(parents=True)
    for name in [*names, "video0"]:
        (root / "TestVideo" / f"{name}.mp4").touch()
    sentences = [
        {"sen_id": 20 * i + k, "video_id": name, "caption": f"caption {k} of {name}"}
        for i, name in enumerate(names)
        for k in reversed(range(captions))
    ]
    videos = [{"video_id": name, "split": "test", "url": "x"} for name in names]
    videos.append({"video_id": "video0", "split": "train", "url": "x"})
    content = {"info": {}, "videos": videos, "sentences": sentences}
    (root / "test_videodatainfo.json").write_text(json.dumps(content))
    (root / "other.json").write_text("[1]")
    return root


def test_2048_of_a_sorted_tree_cover_all_101_classes(tmp_path: Path) -> None:
    videos = read_ucf101(touch_ucf101(tmp_path, SIZES))
    assert len({v.label for v in videos[:2048]}) < 20  # what the mistake does
    chosen = sampled(PRESETS["ucf101-2048"], videos, 2048)
    assert len(chosen) == len({v.name for v in chosen}) == 2048
    counts = Counter(v.label for v in chosen)
    assert len(counts) == 101
    for name, size in SIZES.items():
        assert abs(counts[name] - 2048 * size / len(videos)) < 1
    taken = set(chosen)
    assert chosen == [v for v in videos if v in taken]
    assert chosen == sampled(PRESETS["ucf101-2048"], videos, 2048)
    assert chosen != sampled(PRESETS["ucf101-2048"].with_changes(["seed=1"]), videos, 2048)


@given(
    st.dictionaries(st.text("abcdef", min_size=1), st.integers(1, 50), min_size=1),
    st.data(),
    st.integers(0, 5),
)
def test_shares_add_up_stay_near_their_quota_and_leave_no_class_out(
    sizes: dict[str, int], data: st.DataObject, seed: int
) -> None:
    total = sum(sizes.values())
    count = data.draw(st.integers(1, total))
    shares = apportion(sizes, count, seed)
    assert sum(shares.values()) == count and set(shares) == set(sizes)
    for name, size in sizes.items():
        assert 0 <= shares[name] <= size
    if count >= len(sizes):
        assert min(shares.values()) >= 1
    videos = [
        SetVideo(Path(f"{n}{i}"), f"{n}/{i}", n) for n, size in sizes.items() for i in range(size)
    ]
    chosen = sample(videos, count, "stratified", seed)
    assert Counter(v.label for v in chosen) == Counter({n: s for n, s in shares.items() if s})


def test_the_largest_remainders_get_what_is_left() -> None:
    assert apportion({"a": 18, "b": 11, "c": 1}, 20, 0) == {"a": 12, "b": 7, "c": 1}
    drawn = [apportion({"a": 55, "b": 25, "c": 20}, 10, seed) for seed in range(20)]
    assert all(shares["c"] == 2 for shares in drawn)
    assert {shares["a"] for shares in drawn} == {5, 6}  # equal remainders are drawn


def test_random_samples_and_small_sets() -> None:
    videos = [SetVideo(Path(str(i)), str(i)) for i in range(100)]
    chosen = sample(videos, 10, "random", 0)
    assert len(chosen) == 10 and chosen == sorted(chosen, key=lambda v: int(v.name))
    assert chosen != sample(videos, 10, "random", 1)
    assert sample(videos, 100, "random", 0) == sample(videos, None, "random", 0) == videos
    assert sample(videos, 500, "stratified", 0) == videos


def test_ucf101_splits_and_handstand_pushups(tmp_path: Path) -> None:
    root = write_ucf101(tmp_path, ("Archery", "HandstandPushups"), videos=4, frames=2)
    every = read_ucf101(root)
    assert len(every) == 8
    assert {v.label for v in every if "v_HandStandPushups" in v.name} == {"HandstandPushups"}
    train, test = read_ucf101(root, "train01"), read_ucf101(root, "test01")
    assert (len(train), len(test)) == (6, 2)
    assert set(train) | set(test) == set(every)
    assert read_ucf101(root / "UCF-101") == every
    assert read_ucf101(root / "UCF-101", "train01") == train  # the lists are beside it
    folder = root / "UCF-101" / "HandstandPushups"
    odd = folder / "v_HandStandPushups_g01_c01.avi"
    odd.rename(folder / "v_HandstandPushups_g01_c01.avi")  # as some copies have it
    assert len(read_ucf101(root, "train01")) == 6


def test_ucf101_says_what_is_missing(tmp_path: Path) -> None:
    root = write_ucf101(tmp_path / "u", ("Archery", "YoYo"), videos=2, frames=2)
    with pytest.raises(UserError, match="no split 'train'"):
        read_ucf101(root, "train")
    with pytest.raises(UserError, match=r"no trainlist02\.txt"):
        read_ucf101(root, "train02")
    (root / "UCF-101" / "YoYo" / "v_YoYo_g02_c01.avi").unlink()
    with pytest.raises(DataError, match=r"1 of the 4 videos.*YoYo/v_YoYo_g02_c01\.avi"):
        read_ucf101(root, "train01")
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "a.avi").touch()
    with pytest.raises(UserError, match="is not UCF-101"):
        read_ucf101(flat)


def test_msrvtt_captions_are_in_their_order_and_splits_apart(tmp_path: Path) -> None:
    videos = read_msrvtt(msrvtt(tmp_path))
    assert [v.name for v in videos] == ["video7010", "video7011", "video10000"]
    assert videos[0].captions == tuple(f"caption {k} of video7010" for k in range(20))
    assert [v.name for v in read_msrvtt(tmp_path, "train")] == ["video0"]
    assert len(read_msrvtt(tmp_path, "all")) == 4
    with pytest.raises(UserError, match="no split 'validate': its splits are test, train"):
        read_msrvtt(tmp_path, "validate")
    (tmp_path / "TestVideo" / "video7011.mp4").unlink()
    with pytest.raises(DataError, match=r"1 of the 3 videos.*video7011\.mp4"):
        read_msrvtt(tmp_path)
    (tmp_path / "test_videodatainfo.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        read_msrvtt(tmp_path)
    (tmp_path / "test_videodatainfo.json").unlink()
    with pytest.raises(UserError, match="no MSR-VTT json"):
        read_msrvtt(tmp_path)


def test_two_msrvtt_files_that_disagree_are_refused_whatever_their_sentence_ids(
    tmp_path: Path,
) -> None:
    path = msrvtt(tmp_path) / "test_videodatainfo.json"
    once = read_msrvtt(tmp_path)
    content = json.loads(path.read_text())
    for sentence in content["sentences"]:
        sentence["sen_id"] += 140_200  # as MSRVTT_data.json numbers them
    (tmp_path / "MSRVTT_data.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
    (tmp_path / "._other.json").write_bytes(b"\x00\x05\x16\x07")  # macOS's
    assert read_msrvtt(tmp_path) == once  # it says the same: nothing doubles
    content["sentences"][0]["caption"] = "another"
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"_data.*and.*test_videodatainfo.*different captions"):
        read_msrvtt(tmp_path)
    content["videos"][0]["split"] = "validate"
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="video7010 different split"):
        read_msrvtt(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: c["sentences"].append(dict(c["sentences"][0])), "has the sen_id 19 twice"),
        (lambda c: c["sentences"].append({"video_id": "video0"}), "'caption'"),
        (lambda c: c["sentences"].append("a man"), "has no attribute 'get'"),
        (lambda c: c["sentences"][0].update(caption=None), "has no attribute 'split'"),
        (lambda c: c["sentences"][0].update(sen_id="first"), "invalid literal"),
        (lambda c: c["videos"].append({}), "'video_id'"),
        (lambda c: c["videos"].append({"video_id": "video0", "split": "test"}), "two splits"),
        (lambda c: c.update(videos=7), "not iterable"),
    ],
)
def test_msrvtt_jsons_of_another_form_are_one_sentence(tmp_path: Path, spoil, words: str) -> None:
    path = msrvtt(tmp_path) / "test_videodatainfo.json"
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"test_videodatainfo\.json' is no MSR-VTT json") as error:
        read_msrvtt(tmp_path)
    assert words in str(error.value)


def test_two_files_of_one_video_are_refused(tmp_path: Path) -> None:
    msrvtt(tmp_path)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "video7010.avi").touch()
    with pytest.raises(UserError, match="are both video7010 of MSR-VTT test: remove one"):
        read_msrvtt(tmp_path)


def test_webvid_reads_its_one_table(tmp_path: Path) -> None:
    (tmp_path / "videos" / "p").mkdir(parents=True)
    (tmp_path / "videos" / "p" / "7.mp4").touch()
    (tmp_path / "metadata.csv").write_text("file_name,text\nvideos/p/7.mp4,other\n")
    (tmp_path / "._results.csv").write_bytes(b"\x00\x05")
    with pytest.raises(UserError, match=r"no WebVid csv .* lacks the columns videoid, name"):
        read_webvid(tmp_path)
    table = tmp_path / "results_10M_val.csv"
    table.write_text('VideoID;Name\n7;"one, two"\n7;three\n7;three\n')
    (tmp_path / "videos" / "p" / "8.mp4").touch()
    notes: list[str] = []
    found = read_webvid(tmp_path, notes.append)
    assert [(v.name, v.captions) for v in found] == [("7", ("one, two", "three"))]
    (note,) = [note for note in notes if "8.mp4" in note]
    assert note.startswith("1 videos below ") and "are left out" in note
    (tmp_path / "videos" / "results_10M_train.csv").write_text("videoid,name\n7,other\n")
    with pytest.raises(UserError, match=r"There are 2 WebVid tables, such as .*: keep one there"):
        read_webvid(tmp_path)
    (tmp_path / "videos" / "results_10M_train.csv").write_text("videoid,name\n7,a, b\n")
    with pytest.raises(UserError, match="line 2: the row has 3 fields"):
        read_webvid(tmp_path)


def test_ucf101_lists_and_files_as_people_have_them(tmp_path: Path) -> None:
    root = touch_ucf101(tmp_path, {"Archery": 3, "YoYo": 2})
    every = read_ucf101(root)
    names = [f"{v.label}\\{v.path.name}" for v in every[:4]]
    listed = "\ufeff" + "\r\n".join(f"{name} {n}" for n, name in enumerate(names)) + "\r\n"
    for place, coding in (("", "utf-8"), ("lists", "utf-16-le")):
        (root / place).mkdir(exist_ok=True)
        (root / place / "trainlist01.txt").write_bytes(listed.encode(coding))
    assert read_ucf101(root, "train01") == every[:4]  # two lists of the same text
    (root / "lists" / "trainlist01.txt").write_text("YoYo/v_YoYo_g01_c01.avi 2\n")
    with pytest.raises(UserError, match="are different lists: keep one"):
        read_ucf101(root, "train01")
    (root / "lists" / "trainlist01.txt").unlink()
    (every[0].path).rename(every[0].path.with_suffix(".mp4"))
    pictures = every[1].path.with_suffix("")
    every[1].path.unlink()
    pictures.mkdir()
    (pictures / "frame1.jpg").touch()
    found = read_ucf101(root, "train01")
    assert [v.path.suffix for v in found] == [".mp4", "", ".avi", ".avi"]
    assert [(v.name, v.label) for v in found] == [(v.name, v.label) for v in every[:4]]
    every[1].path.touch()
    with pytest.raises(UserError, match="are one video of UCF-101: remove one"):
        read_ucf101(root)
    every[1].path.unlink()
    (root / "trainlist01.txt").write_bytes(b"Archery/\xff.avi")
    with pytest.raises(UserError, match=r"list '.*trainlist01\.txt' is not UTF-8 text: byte 8"):
        read_ucf101(root, "train01")


def test_captions_of_a_folder_and_of_webvid(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.mp4", "sub/b.mp4", "c.mp4"):
        (folder / name).touch()
    (folder / "metadata.csv").write_text("file_name,text\na.mp4,one\nsub/b.mp4,two\na.mp4,three\n")
    captions = {v.name: v.captions for v in read_folder(folder)}
    assert captions == {"a": ("one", "three"), "sub/b": ("two",), "c": ()}
    (folder / "metadata.csv").write_text("name,text\na.mp4,one\n")
    with pytest.raises(UserError, match=r"lacks the column file_name; .* is 'name,text'"):
        read_folder(folder)

    webvid = tmp_path / "webvid"
    (webvid / "videos" / "000001").mkdir(parents=True)
    (webvid / "videos" / "000001" / "21179416.mp4").touch()
    table = "videoid,contentUrl,duration,page_dir,name\n"
    (webvid / "results_10M_val.csv").write_text(f'{table}21179416,x,PT1S,000001,"a, b"\n')
    assert [(v.name, v.captions) for v in read_webvid(webvid)] == [("21179416", ("a, b",))]
    (webvid / "results_10M_val.csv").write_text(f"{table}1,x,PT1S,0,c\n21179416,x,PT1S,0,d\n")
    with pytest.raises(DataError, match="1 of the 2 videos"):
        read_webvid(webvid)


def test_a_protocol_reads_its_own_layout(tmp_path: Path) -> None:
    write_ucf101(tmp_path / "ucf", ("Archery",), videos=2, frames=2)
    msrvtt(tmp_path / "msr")
    assert len(read_split(PRESETS["ucf101-2048"], tmp_path / "ucf")) == 2
    assert len(read_split(PRESETS["msrvtt-2990"], tmp_path / "msr")) == 3
    assert len(read_split(PRESETS["stylegan-v"], tmp_path / "ucf")) == 2
    with pytest.raises(UserError, match="no WebVid csv"):
        read_split(PRESETS["webvid-2k"], tmp_path / "ucf")


def test_plan_follows_the_class_distribution_and_begins_with_every_class(tmp_path: Path) -> None:
    root = touch_ucf101(tmp_path, SIZES)
    protocol = PRESETS["ucf101-2048"]
    samples = plan_samples(protocol, root)
    assert len(samples) == len({s.name for s in samples}) == 2048
    assert [s.index for s in samples] == list(range(2048))
    assert len({s.real.label for s in samples[:101]}) == 101
    counts = Counter(s.real.label for s in samples)
    assert counts == Counter(apportion(SIZES, 2048, protocol.seed))
    archery = [s for s in samples if s.real.label == "Archery"]
    assert len({s.prompt for s in archery}) == 1 and "bow" in archery[0].prompt
    # as many real videos as generated ones: each is one's true first frame
    assert len({s.real.name for s in samples}) == 2048
    chosen = set(sampled(protocol, read_ucf101(root), 2048))
    assert all(s.real in chosen for s in samples)


def test_plan_takes_captions_of_the_real_videos(tmp_path: Path) -> None:
    root = msrvtt(tmp_path)
    every = PRESETS["msrvtt-59800"].with_changes(["fake_count=60"])
    samples = plan_samples(every, root)
    assert len({s.prompt for s in samples}) == 60
    assert all(s.prompt.endswith(f" of {s.real.name}") for s in samples)
    assert [s.real.name for s in samples[:3]] == ["video7010", "video7011", "video10000"]
    one = PRESETS["msrvtt-2990"].with_changes(["fake_count=3"])
    assert len({s.real.name for s in plan_samples(one, root)}) == 3
    drawn = {
        tuple(s.prompt for s in plan_samples(one.with_changes([f"seed={i}"]), root))
        for i in range(5)
    }
    assert len(drawn) > 1
    with pytest.raises(UserError, match="3 captions for the protocol's 2990 videos"):
        plan_samples(PRESETS["msrvtt-2990"], root)
    with pytest.raises(UserError, match="--prompts is for class sentences"):
        plan_samples(one, root, tmp_path / "p.txt")


def test_plan_says_what_is_missing(tmp_path: Path) -> None:
    msrvtt(tmp_path / "msr", captions=3)
    with pytest.raises(UserError, match="3 real videos have fewer than 20 captions"):
        plan_samples(PRESETS["msrvtt-59800"], tmp_path / "msr")
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.mp4").touch()
    with pytest.raises(UserError, match="no class folders"):
        plan_samples(PRESETS["stylegan-v"], tmp_path / "flat")
