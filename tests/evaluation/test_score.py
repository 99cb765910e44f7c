"""Scoring folders of videos: refusals, counts, missing weights, streaming, kept references."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import unicodedata
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from miniature import write_lossless, write_ucf101
from torch import Tensor
from weight_files import write_i3d

from evaluation import score as module
from evaluation import videos as videos_module
from evaluation.finding import find_videos
from evaluation.meters import Weights
from evaluation.metrics import Score
from evaluation.protocols import PRESETS
from evaluation.reference import load_cached
from evaluation.result import Result, incomparable
from evaluation.score import Scoring, score
from evaluation.sets import read_folder
from evaluation.statistics import Reference
from lightning_artv.errors import CorruptWeightsError, UserError
from lightning_artv.files import one_line
from lightning_artv.media import open_writer

torch.set_num_threads(1)
CHANGES = ["count=6", "frames=9", "resolution=16", "splits=2"]
PROTOCOL = PRESETS["ucf101-2048"].with_changes(CHANGES)
PIXELS = PROTOCOL.with_changes(["metrics=flicker,drift,motion"])


def write_fakes(folder: Path, count: int, frames: int = 9, size: int = 20) -> Path:
    rng = np.random.default_rng(0)
    for number in range(count):
        with open_writer(folder / f"video{number}", 8, (size, size)) as writer:
            for _ in range(frames):
                writer.write(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ucf101(tmp_path_factory.mktemp("data"), ("Archery", "YoYo"), videos=4, frames=10)


@pytest.fixture(scope="module")
def i3d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_i3d(tmp_path_factory.mktemp("weights") / "tiny_i3d.pt")


@pytest.fixture
def job(data: Path, tmp_path: Path) -> Scoring:
    return Scoring(
        protocol=PIXELS,
        real=data,
        fake=write_fakes(tmp_path / "fakes", 6),
        name="model",
        weights=Weights(folder=tmp_path / "no-weights", clip=str(tmp_path / "no-clip")),
        device=torch.device("cpu"),
        batch_size=2,
        cache=tmp_path / "cache",
    )


def test_repeated_fakes_are_refused_and_counted(job: Scoring) -> None:
    for copy in ("copy1", "copy2"):
        shutil.copytree(job.fake / "video0", job.fake / copy)
    shutil.copytree(job.fake / "video3", job.fake / "other")
    every = dataclasses.replace(job, protocol=PIXELS.with_changes(["fake_count=9"]))
    with pytest.raises(UserError) as error:
        score(every)
    assert "3 of the 9 generated videos are exact copies of others" in str(error.value)


def test_unequal_n_is_said_and_so_is_what_the_protocol_asks_for(
    job: Scoring, i3d: Path, tmp_path: Path
) -> None:
    shutil.rmtree(job.fake / "video5")
    protocol = PROTOCOL.with_changes(["metrics=fvd,kvd"])
    result = score(dataclasses.replace(job, protocol=protocol, weights=Weights(i3d=i3d)))
    fvd = result.of("fvd")
    assert fvd is not None and (fvd.real, fvd.fake) == (6, 5)
    assert result.sets["fake"]["used"] == 5 and result.sets["real"] | {"fingerprint": ""} == {
        "found": 8,
        "used": 6,
        "fingerprint": "",
    }
    assert any("Unequal N: 6 real and 5 generated" in w for w in result.warnings)
    assert any("asks for 6 generated videos and there are 5" in w for w in result.warnings)
    assert any(
        "Biased: 5 generated videos where the protocol asks for 6" in w for w in result.warnings
    )
    assert any("changed protocol" in w for w in result.warnings)
    assert any("at least 16 videos" in w for w in result.warnings)


def test_equal_n_is_not_complained_about(job: Scoring) -> None:
    result = score(job)
    assert not any("Unequal" in w or "asks for" in w for w in result.warnings)
    assert [m.metric for m in result.measurements] == ["flicker", "drift", "motion"]
    assert all(m.status == "measured" and m.fake == 6 for m in result.measurements)


def test_too_many_fakes_are_drawn_from_not_cut_off(job: Scoring) -> None:
    four = dataclasses.replace(job, protocol=PIXELS.with_changes(["fake_count=3"]))
    result = score(four)
    assert result.sets["fake"]["found"] == 6 and result.sets["fake"]["used"] == 3
    assert any("3 of the 6 generated videos were drawn" in w for w in result.warnings)
    other = score(dataclasses.replace(four, protocol=four.protocol.with_changes(["seed=3"])))
    assert other.sets["fake"]["sha256"] != result.sets["fake"]["sha256"]


def test_missing_weights_skip_a_metric_without_a_number(job: Scoring, tmp_path: Path) -> None:
    result = score(dataclasses.replace(job, protocol=PROTOCOL))
    skipped = {m.metric: m for m in result.measurements if m.status == "skipped"}
    assert set(skipped) == {"fvd", "kvd", "is", "fid", "clipsim"}
    assert {m.metric for m in result.missing} == {"fvd", "kvd", "is", "fid"}
    assert "have no captions" in skipped["clipsim"].reason
    for m in result.missing:
        assert "missing: download" in m.reason and "\n" not in m.reason
    result.save(tmp_path / "r.json")
    written = json.loads((tmp_path / "r.json").read_text())["measurements"]
    assert [m["status"] for m in written] == ["skipped"] * 5 + ["measured"] * 3
    assert all("value" not in m and "sd" not in m for m in written[:5])
    Result.load(tmp_path / "r.json").save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "r.json").read_bytes()


def test_damaged_weights_end_the_command(job: Scoring, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "i3d_torchscript.pt").write_bytes(b"damaged")
    damaged = dataclasses.replace(job, protocol=PROTOCOL, weights=Weights(folder=folder))
    with pytest.raises(CorruptWeightsError, match=r"i3d_torchscript\.pt"):
        score(damaged)


def test_random_networks_only_when_asked_for_and_renamed(
    job: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fractions import Fraction

    from evaluation.features import random_features
    from evaluation.meters import base

    def small(kind: Any, seed: int) -> Any:
        return random_features(kind, seed, Fraction(1, 16))

    monkeypatch.setattr(base, "random_features", small)
    protocol = PROTOCOL.with_changes(["metrics=fvd,kvd"])
    weights = dataclasses.replace(job.weights, random_seed=3)
    result = score(dataclasses.replace(job, protocol=protocol, weights=weights))
    assert [m.label for m in result.measurements] == ["random-FVD", "random-KVD"]
    for m in result.measurements:
        assert m.features.startswith("random-i3d") and m.weights == {"random seed": "3"}
    other = score(dataclasses.replace(job, protocol=protocol, weights=Weights(random_seed=4)))
    assert incomparable([result, other]) == ["weights.fvd.random seed", "weights.kvd.random seed"]
    assert any("random weights (seed 3)" in w for w in result.warnings)


def test_the_real_side_is_kept_and_a_damaged_file_is_made_again(
    job: Scoring, i3d: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = PROTOCOL.with_changes(["metrics=fvd,kvd", "count=2"])
    fvd = dataclasses.replace(job, protocol=protocol, weights=Weights(i3d=i3d))
    fresh = score(fvd)
    (kept,) = fvd.cache.glob("*.safetensors")
    whole = kept.read_bytes()

    read: list[str] = []
    real = videos_module.read_clip

    def counting(video: Any, rule: Any) -> Tensor:
        read.append(video.name)
        return real(video, rule)

    monkeypatch.setattr(videos_module, "read_clip", counting)
    again = score(fvd)
    assert again.measurements == fresh.measurements
    assert len(read) == 2 and not any("Archery" in name for name in read)

    flipped = bytearray(whole)
    flipped[-9] ^= 64
    for damaged in (whole[:-7], b"", bytes(flipped)):
        kept.write_bytes(damaged)
        assert score(fvd).measurements == fresh.measurements
        assert "is damaged and is made again" in capsys.readouterr().err
    kept.with_suffix(".sha256").unlink()
    assert load_cached(fvd.cache, Reference.load(kept).about) is None


def test_a_reference_is_of_one_protocol_one_network_and_one_set(
    job: Scoring, i3d: Path, tmp_path: Path
) -> None:
    protocol = PROTOCOL.with_changes(["metrics=fvd", "count=2"])
    fvd = dataclasses.replace(job, protocol=protocol, weights=Weights(i3d=i3d))
    score(fvd)
    score(dataclasses.replace(fvd, protocol=protocol.with_changes(["seed=1"])))
    assert len(list(fvd.cache.glob("*.safetensors"))) == 2
    other = write_i3d(tmp_path / "other.pt", seed=1)
    score(dataclasses.replace(fvd, weights=Weights(i3d=other)))
    assert len(list(fvd.cache.glob("*.safetensors"))) == 3
    changed = shutil.copytree(fvd.real, tmp_path / "changed")
    for path in changed.rglob("v_Archery_g01_c01.avi"):
        path.write_bytes(path.read_bytes() + b"\0")
    score(dataclasses.replace(fvd, real=changed))
    assert len(list(fvd.cache.glob("*.safetensors"))) == 4


def test_memory_does_not_grow_with_the_number_of_videos(
    job: Scoring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips alive at a time: at most three batches, for 16 videos as for 64."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    real_read = videos_module.read_clip
    peak = 0

    def track(tensor: Tensor) -> Tensor:
        nonlocal peak
        alive.add(tensor.untyped_storage())
        peak = max(peak, len(alive))
        return tensor

    monkeypatch.setattr(videos_module, "read_clip", lambda v, r: track(real_read(v, r)))
    peaks = {}
    for count in (16, 64):
        peak = 0
        fakes = write_fakes(tmp_path / f"n{count}", count)
        protocol = PIXELS.with_changes([f"fake_count={count}"])
        result = score(dataclasses.replace(job, protocol=protocol, fake=fakes, batch_size=4))
        assert result.sets["fake"]["used"] == count
        peaks[count] = peak
    assert max(peaks.values()) <= 3 * 4


def test_videos_of_another_protocol_are_said(job: Scoring) -> None:
    manifest = {"protocol": "tats", "protocol_hash": PRESETS["tats"].hash, "mode": "true-frame"}
    (job.fake / "manifest.json").write_text(json.dumps(manifest))
    result = score(job)
    assert result.mode == "true-frame"
    assert any("generated for protocol tats" in w for w in result.warnings)


def test_early_refusals(job: Scoring, tmp_path: Path) -> None:
    one = dataclasses.replace(job, fake=write_fakes(tmp_path / "one", 1))
    with pytest.raises(UserError, match="at least 2 generated videos"):
        score(one)
    splits = dataclasses.replace(job, protocol=PROTOCOL.with_changes(["splits=10"]))
    with pytest.raises(UserError, match="in 10 splits needs at least as many"):
        score(splits)
    short = dataclasses.replace(job, protocol=PIXELS.with_changes(["frames=16"]))
    with pytest.raises(UserError, match="'video0' has 9 frames and the protocol needs 16"):
        score(short)


def test_captions_reach_clipsim_by_the_protocols_rule(
    job: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evaluation.meters import single

    seen: list[list[str]] = []

    class Clip:
        sha256 = "0"

        def to(self, device: torch.device) -> Clip:
            return self

    class Similarity:
        def __init__(self, clip: Clip) -> None:
            pass

        def update(self, clips: Tensor, captions: Any) -> None:
            seen.extend(list(texts) for texts in captions)

        def result(self) -> Score:
            return Score(0.5, len(seen), sd=0.1)

    monkeypatch.setattr(single, "load_clip", lambda name: Clip())
    monkeypatch.setattr(single, "CLIPSim", Similarity)
    names = [v.name for v in find_videos(job.fake)]
    lines = [f"{name},{word} {name}\n" for name in names for word in ("one", "two")]
    (job.fake / "metadata.csv").write_text("file_name,text\n" + "".join(lines))
    protocol = PROTOCOL.with_changes(["metrics=clipsim"])
    result = score(dataclasses.replace(job, protocol=protocol))
    assert seen == [[f"one {name}"] for name in names]
    assert result.measurements[0].value == 0.5
    seen.clear()
    score(dataclasses.replace(job, protocol=protocol.with_changes(["caption_rule=all"])))
    assert seen == [[f"one {name}", f"two {name}"] for name in names]


def test_the_result_knows_its_prompts_whatever_the_videos_are_called(job: Scoring) -> None:
    def digest(lines: list[str]) -> str | None:
        (job.fake / "metadata.csv").write_text("file_name,text\n" + "\n".join(lines))
        found: str | None = score(job).sets["fake"]["prompts_sha256"]
        return found

    names = [v.name for v in find_videos(job.fake)]
    assert score(job).sets["fake"]["prompts_sha256"] is None
    first = digest([f"{name},caption {n}" for n, name in enumerate(names)])
    assert first is not None and len(first) == 64
    assert digest([f"{name},caption {n}" for n, name in enumerate(reversed(names))]) == first
    assert digest([f"{name},caption {n + 1}" for n, name in enumerate(names)]) != first


def test_the_digest_is_of_the_videos_that_were_scored(job: Scoring) -> None:
    before = score(job).sets["fake"]["sha256"]
    assert score(job).sets["fake"]["sha256"] == before
    picture = job.fake / "video2" / "00003.png"
    shutil.copy(job.fake / "video1" / "00003.png", picture)
    assert score(job).sets["fake"]["sha256"] != before
    assert module.score(job).run["fake"] == str(job.fake)


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
