"""What is scored: copies, ways of storing, what is left out, captions and their videos."""

# ruff: noqa: F401, F811 (fixtures are imported and named again by the tests that use them)

from __future__ import annotations

import csv
import dataclasses
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniature import write_lossless
from scoring_job import PIXELS, PROTOCOL, data, i3d, job, write_fakes

from evaluation import videos as videos_module
from evaluation.meters import Weights
from evaluation.score import Scoring, score
from evaluation.sets import read_folder
from lightning_artv.errors import UserError
from lightning_artv.files import one_line
from lightning_artv.media import open_writer


def write_noise(folder: Path, count: int, write: Any, frames: int = 9) -> Path:
    """Videos of noise, each written by `write(path without suffix, frames [T, H, W, 3])`."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(count):
        write(folder / f"v{number}", rng.integers(0, 256, (frames, 20, 20, 3), dtype=np.uint8))
    return folder


def as_array(path: Path, frames: np.ndarray) -> None:
    np.save(path.with_suffix(".npy"), frames)


def as_pictures(path: Path, frames: np.ndarray) -> None:
    with open_writer(path, 8, frames.shape[1:3]) as writer:
        for frame in frames:
            writer.write(frame)


def as_ffv1(path: Path, frames: np.ndarray) -> None:
    write_lossless(path.with_suffix(".mkv"), frames)


def as_gif(path: Path, frames: np.ndarray) -> None:
    as_pictures(path.with_suffix(".gif"), frames)


@pytest.mark.parametrize("other", [as_pictures, as_ffv1])
@pytest.mark.parametrize("choice", ["start", "centre", "random"])
def test_the_same_pictures_stored_otherwise_are_copies(
    job: Scoring, tmp_path: Path, other: Any, choice: str
) -> None:
    """Copies in other files, longer than the clip: a random clip begins elsewhere in each."""
    fake = write_noise(tmp_path / "noise", 3, as_array, frames=30)
    frames = np.load(fake / "v1.npy")
    other(fake / "same", frames)
    other(fake / "again", frames)
    protocol = PIXELS.with_changes(["fake_count=9", f"fake_clip={choice}"])
    with pytest.raises(UserError, match=r"2 of the 5 generated .* copies"):
        score(dataclasses.replace(job, protocol=protocol, fake=fake))
    for path in fake.glob("[as]*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    other(fake / "again", 255 - frames)
    other(fake / "same", 254 - frames)
    assert score(dataclasses.replace(job, protocol=protocol, fake=fake)).sets["fake"]["used"] == 5


def test_a_copy_is_not_scored(job: Scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    from evaluation.meters.single import Appearance

    shutil.copytree(job.fake / "video0", job.fake / "video00")
    seen: list[int] = []
    monkeypatch.setattr(Appearance, "add_fake", lambda self, clips, captions: seen.append(1))
    with pytest.raises(UserError, match="1 of the 7 generated videos are exact copies"):
        score(dataclasses.replace(job, protocol=PIXELS.with_changes(["fake_count=9"])))
    assert not seen


@pytest.mark.parametrize(
    ("write", "codec", "words"),
    [
        (as_array, "npy", "without loss (npy)"),
        (as_ffv1, "ffv1", "without loss (ffv1)"),
        (as_gif, "gif", None),
    ],
)
def test_another_way_of_storing_is_said(
    job: Scoring,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    write: Any,
    codec: str,
    words: str | None,
) -> None:
    fake = write_noise(tmp_path / "noise", 3, write)
    result = score(dataclasses.replace(job, fake=fake))
    said = [w for w in result.warnings if w.startswith("Real videos are stored")]
    assert result.sets["fake"]["stored"] == {codec: 3}
    assert bool(said) == (words is not None)
    if words:
        assert f"with loss (mpeg4) and generated ones {words}" in said[0]
        assert f"warning: {said[0]}\n" in capsys.readouterr().err
    as_pictures(fake / "v9", np.zeros((9, 20, 20, 3), np.uint8))
    as_gif(fake / "v8", np.ones((9, 20, 20, 3), np.uint8))
    mixed = score(dataclasses.replace(job, fake=fake)).warnings
    assert any("generated ones with and without loss" in warning for warning in mixed)


def test_what_is_left_out_is_in_the_result_and_on_stderr(
    job: Scoring, capsys: pytest.CaptureFixture[str]
) -> None:
    (job.fake / "sound.wav").touch()
    shutil.copy(job.fake / "video0" / "00000.png", job.fake / "poster.png")
    (job.real / "UCF-101" / "Archery" / "notes.bin").touch()
    try:
        result = score(job)
    finally:
        (job.real / "UCF-101" / "Archery" / "notes.bin").unlink()
    error = capsys.readouterr().err
    for name in ("sound.wav", "poster.png", "Archery/notes.bin"):
        (said,) = (w for w in result.warnings if f"the first is '{name}'" in w)
        assert f"warning: {said}\n" in error


def test_all_that_cannot_be_scored_is_listed_before_anything_is(
    job: Scoring, i3d: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also what is wrong with real videos, which are read last."""
    monkeypatch.setattr(videos_module, "read_clip", lambda video, rule: pytest.fail("read"))
    for name in ("video1", "video4"):
        (job.fake / name / "00008.png").unlink()
    (job.fake / "bad.mp4").write_bytes(b"nothing")
    with pytest.raises(UserError) as error:
        score(dataclasses.replace(job, protocol=PIXELS.with_changes(["fake_count=9"])))
    said = str(error.value)
    assert said.startswith("3 of the 7 generated videos cannot be used: ") and "\n" not in said
    for words in ("'video1' has 8 frames", "'video4' has 8 frames", "bad.mp4' cannot be read"):
        assert words in said
    protocol = PROTOCOL.with_changes(["metrics=fvd", "frames=9", "stride=2"])
    fvd = dataclasses.replace(job, protocol=protocol, weights=Weights(i3d=i3d))
    fake = write_fakes(tmp_path / "good", 6)
    with pytest.raises(UserError, match=r"6 of the 6 real videos cannot be used: .*needs 17.*;"):
        score(dataclasses.replace(fvd, fake=fake))


def captioned(folder: Path, lines: str) -> None:
    (folder / "metadata.csv").write_text(f"file_name,text\n{lines}", encoding="utf-8")


def test_lines_and_videos_that_do_not_match_are_said(
    job: Scoring, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = PROTOCOL.with_changes(["metrics=clipsim,motion"])
    captioned(job.fake, "video0,a\nvideo1,b\nvideo2,c\nvideo3, \nvideo4,d\nlost.mp4,e\ngone,f\n")
    result = score(dataclasses.replace(job, protocol=protocol))
    clipsim = result.of("clipsim")
    assert clipsim is not None and clipsim.status == "skipped"
    assert "2 of the 6 generated videos have no caption in 'fakes/metadata.csv'" in clipsim.reason
    assert "the first is 'video3'" in clipsim.reason
    error = capsys.readouterr().err
    assert f"warning: CLIPSIM is skipped: {clipsim.reason}\n" in error
    for words in (
        "2 of the 7 videos that",
        "the first is 'lost.mp4'",
        "1 lines of",
        "the first is that of 'video3'",
        "2 of the 6 videos in",
    ):
        assert any(words in warning for warning in result.warnings), words
        assert words in error


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_names_as_people_write_them_find_their_videos(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("captions")
    (folder / "sub").mkdir()
    videos = ["a é.mp4", "sub/b.mp4", "sub/ü.gif", "c.ts"]
    forms = [
        lambda name: name,
        lambda name: name.rpartition(".")[0],
        lambda name: unicodedata.normalize("NFD", name),
        lambda name: f"fakes/{name}",
        lambda name: f"./{name}",
        lambda name: name.replace("/", "\\"),
    ]
    captions = {}
    for name in videos:
        (folder / unicodedata.normalize("NFC", name)).touch()
        form = data.draw(st.sampled_from(forms))
        text = data.draw(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
        captions[form(name)] = text
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("file_name", "text"), *captions.items()])
    said: list[str] = []
    found = {v.path.name: v.captions for v in read_folder(folder, said.append)}
    expected = {
        Path(name).name: (one_line(text),) if one_line(text) else ()
        for name, text in zip(videos, captions.values(), strict=True)
    }
    assert found == expected
    assert len(said) == (0 if all(expected.values()) else 2)
