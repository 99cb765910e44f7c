"""`data_prep folder`: a captioned folder becomes shards, or one sentence says why not."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
import tarfile
import unicodedata
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from real_clips import CLIPS, needs_clips

from data_prep.__main__ import main
from data_prep.options import FolderOptions
from data_prep.shards.folder import write_folder
from lightning_artv.data.decode import Video
from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.shards import ClipSettings, ShardDataset
from lightning_artv.data.tar import RawSample, read_shard
from lightning_artv.errors import UserError
from lightning_artv.systems.artv.windows import NextFrame

ROOT = Path(__file__).parents[3]


def levels(frames: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Frame k is uniformly 20 + 5 k."""
    values = (20 + 5 * np.arange(frames)).astype(np.uint8)
    return np.broadcast_to(values[:, None, None, None], (frames, height, width, 3)).copy()


def avi(frames: np.ndarray, path: Path) -> None:
    with av.open(str(path), "w", format="avi") as writer:
        stream = writer.add_stream("mpeg4", rate=24, options={"qmin": "1", "qmax": "1"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.max_b_frames = 2
        for pixels in frames:
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        writer.mux(stream.encode())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two good videos, an avi and an mp4, and their captions."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(encode_lossless(levels(10), 24))
    avi(levels(40), folder / "b.c.avi")
    (folder / "metadata.csv").write_text('file_name,text\na.mp4,"one, two"\nb.c.avi,three\n')
    return folder


def samples(out: Path) -> list[RawSample]:
    return [raw for path in sorted(out.glob("*.tar")) for raw in read_shard(path)]


def test_videos_captions_and_facts_arrive(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = write_folder(source, out)
    assert (report.copied, report.encoded, report.shards, report.skipped) == (1, 1, 1, ())
    one, two = samples(out)
    assert one.files["mp4"] == (source / "a.mp4").read_bytes()
    assert (one.files["txt"], two.files["txt"]) == (b"one, two", b"three")
    facts = json.loads(two.files["json"])
    assert facts == {
        "width": 48,
        "height": 32,
        "fps": 24.0,
        "frames": 40,
        "duration": pytest.approx(40 / 24, abs=1e-3),
        "source": "b.c.avi",
    }
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("out")] == ["out"]
    assert len(list(ShardDataset(out, ClipSettings(NextFrame(), (32, 32))))) == 2


def test_re_encoding_keeps_order_times_and_colours(source: Path, tmp_path: Path) -> None:
    write_folder(source, tmp_path / "out")
    stored = samples(tmp_path / "out")[1].files["mp4"]
    with Video(stored) as video:
        assert "mp4" in video.container
        assert video.timestamps == pytest.approx([k / 24 for k in range(40)], abs=1e-4)
        means = video.frames(range(40)).float().mean((1, 2, 3)).tolist()
    assert means == pytest.approx([20 + 5 * k for k in range(40)], abs=2.4)


def test_limits_reduce_size_and_rate_of_larger_videos_only(source: Path, tmp_path: Path) -> None:
    report = write_folder(source, tmp_path / "out", FolderOptions(size=16, fps=8))
    assert report.encoded == 2
    facts = json.loads(samples(tmp_path / "out")[1].files["json"])
    assert (facts["height"], facts["width"], facts["frames"]) == (16, 24, 14)
    assert facts["fps"] == pytest.approx(8, abs=0.01)
    with Video(samples(tmp_path / "out")[1].files["mp4"]) as video:
        means = video.frames([0, 5, 13]).float().mean((1, 2, 3)).tolist()
    assert means == pytest.approx([20, 20 + 5 * 15, 20 + 5 * 39], abs=2.4)
    assert write_folder(source, tmp_path / "wide", FolderOptions(size=32, fps=24)).copied == 1


def test_jsonl_and_several_shards(source: Path, tmp_path: Path) -> None:
    (source / "metadata.csv").unlink()
    rows = [{"file_name": "b.c.avi", "text": "x"}, {"file_name": "a.mp4", "text": "y"}]
    (source / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert write_folder(source, tmp_path / "out", FolderOptions(shard_size=1)).shards == 2
    assert [raw.files["txt"] for raw in samples(tmp_path / "out")] == [b"x", b"y"]


def test_unreadable_videos_are_skipped_and_named(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "bad.mp4").write_bytes(b"no video")
    (source / "still.mp4").write_bytes(encode_lossless(levels(1), 8))
    with (source / "metadata.csv").open("a") as file:
        file.write("bad.mp4,four\nstill.mp4,five\n")
    assert main(["folder", str(source), str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "Wrote 2 videos (1 copied, 1 re-encoded) in 1 shard" in printed.out
    assert "Skipped 2:" in printed.out
    assert "bad.mp4: not a readable video" in printed.out
    assert "still.mp4: it has only 1 frame" in printed.out
    assert "video 4/4, " in printed.err


def metadata(folder: Path, text: str) -> None:
    (folder / "metadata.csv").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: f.rename(f.with_name("gone")), "does not exist"),
        (lambda f: [p.unlink() for p in f.iterdir()], "is empty"),
        (lambda f: (f / "metadata.csv").unlink(), "has no metadata.csv"),
        (lambda f: (f / "metadata.jsonl").write_text("{}"), "has both"),
        (lambda f: metadata(f, ""), "lacks the columns file_name, text"),
        (lambda f: metadata(f, "file_name,text\n"), "lists no videos"),
        (
            lambda f: metadata(f, "file,text\na.mp4,x\n"),
            "file_name; .*'file,text'",
        ),
        (lambda f: metadata(f, "file_name,text\na.mp4\n"), "line 2: the row has 1 field"),
        (lambda f: metadata(f, "file_name,text\na.mp4,a man, who skis\n"), "line 2: the row has 3"),
        (lambda f: metadata(f, 'file_name,text\na.mp4,"a\nb.mp4,c\n'), "line 2: a quote that op"),
        (lambda f: metadata(f, "file_name,text\nno.mp4,x\na.mp4,y\n"), r"no.mp4 \(line 2\)"),
        (lambda f: metadata(f, "file_name,text\na.mp4,x\na.mp4,y\n"), "again in line 3"),
        (lambda f: metadata(f, "file_name,text\n../a.mp4,x\n"), "leads out of the folder"),
        (lambda f: metadata(f, "file_name,text\n/a.mp4,x\n"), "leads out of the folder"),
        (lambda f: metadata(f, "file_name,text\na.mp4, \n"), "a.mp4 has an empty caption"),
        (lambda f: (f / "metadata.csv").write_bytes(b"\xff\xfe\xff"), "save it as UTF-8"),
        (lambda f: (f / "metadata.csv").write_bytes(b"file_name,text\n\xff.mp4,x\n"), "UTF-8"),
        (lambda f: metadata(f, "file_name,text\na.mp4,x\n./a.mp4,y\n"), "again in line 3"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil, sentence: str
) -> None:
    spoil(source)
    assert main(["folder", str(source), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    with pytest.raises(UserError, match=sentence):
        write_folder(source, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_bad_jsonl_is_one_sentence(source: Path, tmp_path: Path) -> None:
    (source / "metadata.csv").unlink()
    good = '{"file_name": "a.mp4", "text": "x"}'
    for text in ("{", "[1]", '{"file_name": "a.mp4"}', '{"file_name": "a.mp4", "text": "\\ud800"}'):
        (source / "metadata.jsonl").write_text(f"{good}\n{text}\n")
        with pytest.raises(UserError, match=r"line 2: (no JSON|the line is no|text is|its text)"):
            write_folder(source, tmp_path / "out")


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_captions_of_any_list_arrive_whole(source: Path, tmp_path: Path, delimiter: str) -> None:
    rows = [("File Name", "Text"), ("a.mp4", 'a man, who says "hi"; fast'), ("b.c.avi", "zwei\nß")]
    with (source / "metadata.csv").open("w", newline="", encoding="utf-16") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    write_folder(source, tmp_path / "out")
    texts = [raw.files["txt"].decode() for raw in samples(tmp_path / "out")]
    assert texts == ['a man, who says "hi"; fast', "zwei ß"]


def test_parquet_and_gz_lists_are_read(source: Path, tmp_path: Path) -> None:
    (source / "metadata.csv").unlink()
    table = pa.table({"file_name": ["b.c.avi", "a.mp4"], "text": ["x", "y"]})
    pq.write_table(table, source / "metadata.parquet")
    write_folder(source, tmp_path / "one")
    (source / "metadata.parquet").unlink()
    (source / "metadata.csv.gz").write_bytes(gzip.compress(b"file_name,text\nb.c.avi,x\na.mp4,y\n"))
    write_folder(source, tmp_path / "two")
    for out in ("one", "two"):
        assert [raw.files["txt"] for raw in samples(tmp_path / out)] == [b"x", b"y"]


def test_names_in_another_unicode_form_or_with_backslashes_are_found(
    source: Path, tmp_path: Path
) -> None:
    decomposed = unicodedata.normalize("NFD", "é")
    (source / decomposed).mkdir()
    (source / "a.mp4").rename(source / decomposed / f"{decomposed}.mp4")
    metadata(source, "file_name,text\né\\é.mp4,one\nb.c.avi,two\n")
    report = write_folder(source, tmp_path / "out")
    assert (report.copied, report.encoded, report.unlisted) == (1, 1, ())


def test_videos_that_are_not_listed_are_named(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata(source, 'file_name,text\na.mp4,"a man\nb.c.avi,three"\n')  # the quote takes a row
    assert main(["folder", str(source), str(tmp_path / "out")]) == 0
    assert "Left out 1 that the metadata does not list:\n  b.c.avi\n" in capsys.readouterr().out


def test_a_folder_without_one_readable_video_fails_and_writes_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "a.mp4").write_bytes(b"")
    metadata(source, "file_name,text\na.mp4,x\n")
    assert main(["folder", str(source), str(tmp_path / "out")]) == 5
    assert "None of the 1 videos" in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_missing_files_and_empty_captions_can_be_allowed(source: Path, tmp_path: Path) -> None:
    metadata(source, "file_name,text\nno.mp4,x\na.mp4,\n")
    options = FolderOptions(skip_missing=True, allow_empty_captions=True)
    report = write_folder(source, tmp_path / "out", options)
    assert report.skipped == (("no.mp4", "the file does not exist"),)
    assert [raw.files["txt"] for raw in samples(tmp_path / "out")] == [b""]


def test_existing_shards_stay_unless_overwritten_and_other_files_always(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_folder(source, out, FolderOptions(shard_size=1))
    before = (out / "00000.tar").read_bytes()
    with pytest.raises(UserError, match="--overwrite"):
        write_folder(source, out)
    assert (out / "00000.tar").read_bytes() == before
    write_folder(source, out, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["00000.tar"]
    (out / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        write_folder(source, out, overwrite=True)
    assert (out / "thesis.txt").exists()
    with pytest.raises(UserError, match="source"):
        write_folder(source, source, overwrite=True)


def test_an_error_on_the_way_leaves_the_old_shards_and_nothing_else(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_folder(source, out)
    before = (out / "00000.tar").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(UserError, match="No space left"):
        write_folder(source, out, overwrite=True)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("out")] == ["out"]
    assert (out / "00000.tar").read_bytes() == before


@pytest.mark.parametrize("options", [["--size", "4"], ["--fps", "0"], ["--shard-size", "0"]])
def test_impossible_options_are_one_sentence(
    source: Path, tmp_path: Path, options: list[str]
) -> None:
    assert main(["folder", str(source), str(tmp_path / "out"), *options]) == 2
    assert not list(tmp_path.glob("out*"))


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, data_prep.__main__ as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "assert not {'torch', 'av', 'numpy'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)


@needs_clips
def test_the_real_clips_all_become_training_examples(tmp_path: Path) -> None:
    report = write_folder(CLIPS, tmp_path / "out")
    assert (report.copied, report.encoded, report.skipped) == (21, 3, ())
    dataset = ShardDataset(tmp_path / "out", ClipSettings(NextFrame(), (64, 64)))
    examples = list(dataset)
    assert len(examples) == 24
    assert dataset.stats.examples == []
    assert all(sample.frames.float().std() > 10 for sample in examples)
