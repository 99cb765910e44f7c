"""CLIP scores against transformers' own model, one video and one frame at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPModel, CLIPProcessor

from data_prep.measure.clip_score import ClipScore, ClipScorer, even_frames
from data_prep.options import ClipOptions
from data_prep.sources import frames as frames_module
from data_prep.sources.rows import VideoEntry
from lightning_artv.data.encode import encode_lossless
from lightning_artv.errors import MissingWeightsError, UserError
from lightning_artv.networks.clip import CLIP
from tests.data_prep.damage import encode, moving, rotated, sound


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of two sizes; one has three frames only, one is turned."""
    folder = tmp_path_factory.mktemp("videos")
    videos = {
        "a": encode_lossless(moving(12, 40, 56), 8),
        "b": encode_lossless(moving(3, 40, 56, speed=9), 8),
        "c": encode_lossless(moving(20, 64, 48), 8),
        "d": rotated(encode_lossless(moving(8, 40, 56, speed=5), 8)),
        "e": encode(255 - moving(9, 40, 56)),
    }
    for name, data in videos.items():
        (folder / f"{name}.mp4").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def entries(folder: Path) -> list[VideoEntry]:
    captions = ["a red ball", "x", "a dog runs; it is late, and it rains", "turned", "x"]
    return [
        VideoEntry(name, str(folder / f"{name}.mp4"), caption)
        for name, caption in zip("abcde", captions, strict=True)
    ]


def entry_at(path: Path) -> VideoEntry:
    return VideoEntry("k", str(path), "c")


def options(clip_folder: Path, frames: int = 4, batch_size: int = 64) -> ClipOptions:
    return ClipOptions(str(clip_folder), None, frames, batch_size, "cpu")


def reference(clip_folder: Path, entry: VideoEntry, count: int) -> float:
    """The mean of the model's own cosines."""
    model = CLIPModel.from_pretrained(clip_folder).eval()
    processor = CLIPProcessor.from_pretrained(clip_folder)
    cosines = []
    for frame in even_frames(entry, count):
        inputs = processor(text=[entry.caption], images=[frame], return_tensors="pt")
        with torch.no_grad():
            out = model(**inputs)
        cosines.append(float(out.image_embeds[0] @ out.text_embeds[0]))
    return float(np.mean(cosines))


@pytest.mark.parametrize(("frames", "batch_size"), [(4, 64), (4, 5), (1, 2), (6, 4)])
def test_scores_equal_the_models_own(
    clip_folder: Path, entries: list[VideoEntry], frames: int, batch_size: int
) -> None:
    rows = ClipScorer(options(clip_folder, frames, batch_size))(entries)
    wanted = [reference(clip_folder, entry, frames) for entry in entries]
    assert [row["clip_score"] for row in rows] == pytest.approx(wanted, abs=1e-5)
    assert [row["clip_frames"] for row in rows] == [min(frames, n) for n in (12, 3, 20, 8, 9)]
    assert len({round(score, 4) for score in wanted}) == 5  # they differ, so an order shows
    assert {row["clip_model"] for row in rows} == {
        f"{clip_folder.name} sha256:{CLIP(str(clip_folder)).sha256[:12]}"
    }


def test_frames_of_one_size_share_a_batch_whichever_video_they_are_of(
    clip_folder: Path, entries: list[VideoEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    original = CLIP.images

    def noting(self: CLIP, frames: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(frames.shape))
        return original(self, frames)

    monkeypatch.setattr(CLIP, "images", noting)
    ClipScorer(options(clip_folder))(entries)
    assert shapes == [(11, 3, 40, 56), (4, 3, 64, 48), (4, 3, 56, 40)]
    shapes.clear()
    ClipScorer(options(clip_folder, frames=4, batch_size=8))(entries)
    # two videos are decoded at a time, so that memory does not grow with the list
    assert shapes == [(7, 3, 40, 56), (4, 3, 64, 48), (4, 3, 56, 40), (4, 3, 40, 56)]


def test_the_same_list_gives_the_same_bits(clip_folder: Path, entries: list[VideoEntry]) -> None:
    rows = [ClipScorer(options(clip_folder))(entries) for _ in range(2)]
    assert rows[0] == rows[1]
    assert torch.get_num_threads() == 1


def test_frames_lie_in_the_middle_of_equal_parts(folder: Path) -> None:
    whole = torch.from_numpy(moving(12, 40, 56)).permute(0, 3, 1, 2)
    assert torch.equal(even_frames(entry_at(folder / "a.mp4"), 4), whole[[1, 4, 7, 10]])
    assert torch.equal(even_frames(entry_at(folder / "a.mp4"), 1), whole[[6]])
    assert torch.equal(even_frames(entry_at(folder / "a.mp4"), 99), whole)


def test_only_the_needed_frames_are_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    original = frames_module.Video.__exit__

    def noting(self: frames_module.Video, *args: object) -> None:
        decoded.append(self.decoded)
        original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(frames_module.Video, "__exit__", noting)
    even_frames(entry_at(folder / "a.mp4"), 2)  # every frame is a keyframe
    assert decoded == [2]


def test_bad_videos_are_failed_rows_among_good_ones(
    clip_folder: Path, entries: list[VideoEntry], tmp_path: Path
) -> None:
    bad = {
        "empty_file": b"",
        "not_a_video": b"some text\n" * 9,
        "no_video_stream": sound(),
        "damaged": encode(moving(30))[:3000],
    }
    mixed = [VideoEntry("missing", str(tmp_path / "none.mp4"), "x"), entries[0]]
    for kind, data in bad.items():
        (tmp_path / kind).write_bytes(data)
        mixed.append(VideoEntry(kind, str(tmp_path / kind), "x"))
    mixed.append(entries[1])
    rows = ClipScorer(options(clip_folder))(mixed)
    assert [row["error_kind"] for row in rows] == ["missing_file", None, *bad, None]
    assert [list(row) for row in rows] == [list(vars(ClipScore("ok")))] * len(mixed)
    alone = ClipScorer(options(clip_folder))(entries[:2])
    assert [rows[1]["clip_score"], rows[-1]["clip_score"]] == pytest.approx(
        [row["clip_score"] for row in alone], abs=1e-6
    )
    assert ClipScorer(options(clip_folder))(mixed[:1])[0]["status"] == "failed"


def test_missing_weights_are_exit_code_3(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError) as missing:
        ClipScorer(options(tmp_path / "nothing"))
    assert missing.value.exit_code == 3


def test_impossible_options_are_refused(clip_folder: Path) -> None:
    with pytest.raises(UserError, match="at least 1 frame"):
        ClipOptions(frames=0)
    with pytest.raises(UserError, match="no device 'cuda:77'"):
        ClipScorer(ClipOptions(str(clip_folder), device="cuda:77"))
    with pytest.raises(UserError, match="no device 'toaster'"):
        ClipScorer(ClipOptions(str(clip_folder), device="toaster"))
