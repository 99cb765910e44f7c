"""Long videos in pieces: no cut where none belongs, and every second is a row's."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from caption_models import save_chat
from hypothesis import given, settings
from hypothesis import strategies as st
from prep_videos import h264, map_here, stops_after

from data_prep import commands
from data_prep.__main__ import main
from data_prep.measure import columns
from data_prep.measure.analyse import Analyse
from data_prep.measure.captions import segment as segment_module
from data_prep.measure.captions.model import Answerer
from data_prep.measure.captions.pieces import KEPT, parts_of, pieces_of, shown_at
from data_prep.measure.captions.prompts import load_prompts
from data_prep.measure.captions.segment import write_segments
from data_prep.measure.clip_score import ClipScorer
from data_prep.options import (
    AnalyseOptions,
    ClipOptions,
    EngineOptions,
    SelectOptions,
    ShardOptions,
)
from data_prep.options.captions import AskOptions, CaptionOptions, SegmentOptions
from data_prep.selection.select import select
from data_prep.shards import write as write_module
from data_prep.sources.listing import LISTING
from data_prep.tables import read_rows, write_rows
from lightning_artv.data.decode import Video
from lightning_artv.data.tar import read_shard
from lightning_artv.errors import MissingWeightsError, UserError

ENGINE = EngineOptions(processes=1)
FPS = 8


@settings(deadline=None)
@given(
    st.floats(0.2, 500),
    st.lists(st.floats(-1, 600), max_size=8),
    st.floats(0.1, 20),
    st.floats(0, 10),
    st.randoms(use_true_random=False),
)
def test_pieces_are_the_whole_video_and_have_no_scene_cut_inside(
    duration: float, cuts: list[float], interval: float, least: float, random: Any
) -> None:
    parts = parts_of(duration, cuts, interval)
    verdicts = [random.choice([KEPT, KEPT, "irrelevant"]) for _ in parts]
    pieces = pieces_of(parts, verdicts, least)
    assert pieces[0].start == 0 and pieces[-1].end == duration
    assert all(one.end == two.start for one, two in itertools.pairwise(pieces))
    assert all(piece.start < piece.end for piece in pieces)
    for piece in pieces:
        assert not any(piece.start < cut < piece.end for cut in cuts)
        inside = {verdicts[number] for number in piece.parts}
        assert inside == {KEPT if piece.verdict == "too_short" else piece.verdict}
        length = piece.end - piece.start
        if inside == {KEPT}:
            assert (piece.verdict == "too_short") == (length < least - 1e-6)
    scenes = {0.0, duration, *cuts}
    for one, two in itertools.pairwise(pieces):  # what is cut within a shot, the verdict cut
        if one.end not in scenes:
            assert verdicts[one.parts[-1]] != verdicts[two.parts[0]]
    for part in parts:
        assert part.end - part.start < 1.5 * interval + 1e-6


def test_the_frame_of_a_part_is_the_one_seen_in_its_middle() -> None:
    parts = parts_of(4.0, [1.0], 1.0)
    assert [(p.start, p.end) for p in parts] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert shown_at([0.0, 0.4, 0.6, 2.0, 3.9], parts) == [1, 2, 3, 3]


COLOURS = [20, 70, 120, 170, 220]


def film(*seconds: float) -> np.ndarray:
    """Flat scenes, each of another brightness, which grows a little within it."""
    scenes = []
    for scene, length in enumerate(seconds):
        for k in range(round(length * FPS)):
            level = COLOURS[scene] + k // 4
            scenes.append(np.full((32, 48, 3), level, np.uint8))
    return np.stack(scenes)


FILMS = {"v0": (3.0, 2.0, 4.0), "v1": (5.0,), "v2": (2.0, 2.0, 2.0, 2.0)}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the step motion makes of three films and a missing one."""
    folder, patch = tmp_path_factory.mktemp("films"), pytest.MonkeyPatch()
    rows = []
    for key, seconds in FILMS.items():
        (folder / f"{key}.mp4").write_bytes(h264(film(*seconds), FPS))
        rows.append({"key": key, "path": str(folder / f"{key}.mp4"), "status": "ok"})
        rows[-1] |= {"caption": "old", "label": "Archery"}
    rows.append({"key": "gone", "status": "failed", "error_kind": "missing_file", "error": "no"})
    write_rows(folder / "listing", rows, LISTING, {"step": "list"})
    with patch.context() as undone:
        undone.setattr(columns, "map_rows", map_here)
        job = Analyse(AnalyseOptions(cut_threshold=10))
        columns.add_columns(folder / "listing", folder / "motion", job, {}, "motion", ENGINE)
    found = {row["key"]: row["cuts"] for row in read_rows(folder / "motion")}
    assert found == {"v0": [3.0, 5.0], "v1": [], "v2": [2.0, 4.0, 6.0], "gone": None}
    return folder / "motion"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "map_rows", map_here)
    monkeypatch.setattr(write_module, "map_rows", map_here)


def segmented(table: Path, out: Path, **options) -> list[dict]:
    write_segments(table, out, SegmentOptions(device="cpu", **options), ENGINE)
    return read_rows(out)


def tiles(rows: list[dict], videos: list[dict]) -> None:
    """Every second of every video is in one row."""
    for video in videos:
        if video["status"] != "ok":
            continue
        pieces = [row for row in rows if row["video"] == video["key"]]
        assert pieces[0]["start"] == 0 and pieces[-1]["end"] == video["duration"]
        for one, two in itertools.pairwise(pieces):
            assert one["end"] == two["start"]
        assert sum(row["duration"] for row in pieces) == pytest.approx(video["duration"])
        kept = [row for row in pieces if row["status"] == "ok"]
        for row in kept:
            assert not any(row["start"] < cut < row["end"] for cut in video["cuts"])


def test_without_weights_shots_are_the_pieces(tmp_path: Path, table: Path, here: None) -> None:
    videos = read_rows(table)
    rows = segmented(table, tmp_path / "out", min_seconds=2.5)
    tiles(rows, videos)
    cuts = {row["key"]: row["cuts"] for row in videos}
    for key in FILMS:
        ends = [row["end"] for row in rows if row["video"] == key][:-1]
        assert ends == cuts[key]
    assert [row["key"] for row in rows][:2] == ["v0-0000", "v0-0001"]
    assert rows[-1]["key"] == "gone" and rows[-1]["error"] == "no"
    assert {row["error_kind"] for row in rows} <= {None, "too_short", "missing_file"}
    for row in rows[:-1]:
        assert (row["status"] == "failed") == (row["duration"] < 2.5)
        assert row["phash"] is None and row["caption"] == "old" and row["cuts"] == []
    assert not (tmp_path / "out.parts").exists()


def test_clip_cuts_out_what_it_finds_little_of(
    tmp_path: Path, table: Path, clip_folder: Path, here: None
) -> None:
    scorer = ClipScorer(ClipOptions(str(clip_folder), device="cpu"))
    videos = [row for row in read_rows(table) if row["status"] == "ok"]
    scores: dict[str, list[float]] = {}
    for row in videos:
        parts = parts_of(row["duration"], row["cuts"], 0.5)
        with Video(Path(row["path"])) as video:
            seen = video.frames(shown_at(video.timestamps, parts))
        scores[row["key"]] = scorer.against(seen, "a video of archery")
        assert len(parts) == round(row["duration"] / 0.5)
    flat = sorted(score for found in scores.values() for score in found)
    threshold = float(np.mean([flat[len(flat) // 2 - 1], flat[len(flat) // 2]]))
    options: dict[str, Any] = {"clip": str(clip_folder), "threshold": threshold}
    rows = segmented(table, tmp_path / "out", interval=0.5, min_seconds=0.0, **options)
    tiles(rows, videos)
    for row in rows[:-1]:
        parts = parts_of(
            *next((v["duration"], v["cuts"]) for v in videos if v["key"] == row["video"]), 0.5
        )
        inside = [
            score >= threshold
            for part, score in zip(parts, scores[row["video"]], strict=True)
            if row["start"] <= part.start and part.end <= row["end"]
        ]
        assert inside and set(inside) == {row["status"] == "ok"}
    dropped = [row for row in rows if row["error_kind"] == "irrelevant"]
    assert dropped and all("CLIP finds little of 'archery'" in row["error"] for row in dropped)


def test_a_model_that_is_asked_cuts_out_what_it_says_no_to(
    tmp_path: Path,
    table: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    here: None,
) -> None:
    folder = save_chat(tmp_path_factory.mktemp("chat") / "tiny")
    asked: list[tuple[int, str]] = []
    answer = Answerer.answer

    def brightness_says(self: Answerer, frames: torch.Tensor, prompt: str, tokens: int) -> str:
        assert isinstance(answer(self, frames, prompt, tokens), str)  # the model does run
        asked.append((int(frames.float().mean()), prompt))
        return "No, it does not." if asked[-1][0] < 45 else "Yes."

    monkeypatch.setattr(Answerer, "answer", brightness_says)
    rows = segmented(table, tmp_path / "out", ask=str(folder), min_seconds=0.0)
    tiles(rows, read_rows(table))
    question = load_prompts(None).relevance["chat"].format(label="archery")
    assert {prompt for _, prompt in asked} == {question}
    dropped = {row["key"]: row["error_kind"] for row in rows if row["status"] == "failed"}
    assert dropped == {
        "v0-0000": "irrelevant",
        "v1-0000": "irrelevant",
        "v2-0000": "irrelevant",
        "gone": "missing_file",
    }
    real = Answerer(str(folder), AskOptions(device="cpu"))
    assert real.chats


@pytest.mark.parametrize(
    ("answer", "denies"),
    [
        ("no", True),
        ("No.", True),
        ("NO, it is a cat", True),
        ("yes", False),
        ("nothing", False),
        ("Not sure", False),
        ("", False),
        ('"No"', True),
    ],
)
def test_only_a_plain_no_is_a_no(answer: str, denies: bool) -> None:
    judge = segment_module.Judge(SegmentOptions(), load_prompts(None))
    judge._question = "{label}?"
    judge._model = type("Model", (), {"answer": lambda *_: answer})()
    assert judge._denies(torch.zeros(3, 2, 2), "x") == denies


def test_pieces_are_captioned_and_stored_frame_by_frame(
    tmp_path: Path, table: Path, here: None
) -> None:
    segmented(table, tmp_path / "pieces", min_seconds=0.5)
    commands.caption(tmp_path / "pieces", tmp_path / "captioned", CaptionOptions(), ENGINE)
    select(tmp_path / "captioned", tmp_path / "selected", SelectOptions(motion=None))
    commands.shards(tmp_path / "selected", tmp_path / "shards", ShardOptions(crf=1), ENGINE)
    stored = {
        raw.key: raw.files
        for tar in (tmp_path / "shards" / "train").glob("*.tar")
        for raw in read_shard(tar)
    }
    rows = {row["key"]: row for row in read_rows(tmp_path / "captioned") if row["status"] == "ok"}
    assert stored.keys() == rows.keys()
    for key, seconds in FILMS.items():
        pieces = sorted(name for name in stored if name.startswith(key))
        levels = []
        for name in pieces:
            assert stored[name]["txt"].decode() == rows[name]["caption"] != "old"
            with Video(stored[name]["mp4"]) as video:
                assert video.timestamps[0] == 0
                frames = video.frames(range(len(video.timestamps))).float()
            levels += frames.mean((1, 2, 3)).tolist()
        wanted = film(*seconds).mean((1, 2, 3))
        assert len(levels) == len(wanted)  # each frame once: none lost, none twice
        assert np.abs(np.array(levels) - wanted).max() < 2


def test_pieces_of_one_video_are_held_out_together(tmp_path: Path, table: Path, here: None) -> None:
    segmented(table, tmp_path / "pieces", min_seconds=0.0)
    seen = set()
    for share in (0.2, 0.4, 0.6, 0.8):
        select(tmp_path / "pieces", tmp_path / "sel", SelectOptions(motion=None, held_out=share))
        rows = [row for row in read_rows(tmp_path / "sel") if row["status"] == "ok"]
        for video in FILMS:
            (held,) = {row["held_out"] for row in rows if row["video"] == video}
            seen.add(held)
    assert seen == {True, False}


def test_a_killed_run_goes_on_with_the_same_result(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "CHUNK", 1)
    monkeypatch.setattr(columns, "map_rows", map_here)
    segmented(table, tmp_path / "whole.parquet")

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(columns, "map_rows", stops_after(1))
        segmented(table, tmp_path / "out.parquet")
    segmented(table, tmp_path / "out.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    assert (tmp_path / "out.parquet").read_bytes() == whole
    with pytest.raises(UserError, match=r"another interval \(1.0, not 2.0\)"):
        segmented(table, tmp_path / "out.parquet", interval=2.0)


def test_bad_input_is_one_sentence(
    tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in ("--clip", "--ask"):
        line = ["segment", str(table), str(tmp_path / "o"), model, str(tmp_path / "none")]
        assert main(line) == MissingWeightsError.exit_code == 3
        assert capsys.readouterr().err.count("\n") == 1
    write_rows(tmp_path / "t", [], LISTING, {"step": "list"})
    assert main(["segment", str(tmp_path / "t"), str(tmp_path / "o")]) == 2
    assert "has no column cuts; run the step motion first" in capsys.readouterr().err
    write_rows(tmp_path / "p", [], pa.schema([*LISTING, ("video", pa.string())]), {"step": "s"})
    assert main(["segment", str(tmp_path / "p"), str(tmp_path / "o")]) == 2
    assert "is of the step segment already" in capsys.readouterr().err
    for wrong in ({"threshold": 2.0}, {"min_seconds": -1.0}, {"interval": 0.0}):
        with pytest.raises(UserError):
            SegmentOptions(**wrong)
