"""The content score and cuts equal PySceneDetect's own, run through its own API."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_clips import CLIPS, needs_clips
from scenedetect import ContentDetector, SceneManager
from scenedetect.backends.pyav import VideoStreamAv
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detector import FlashFilter
from scenedetect.scene_manager import compute_downscale_factor

from data_prep.measure.analyse import analyse
from data_prep.measure.motion import MIN_SCENE_FRAMES, ContentScore, analysis_size, find_cuts
from data_prep.options import AnalyseOptions
from data_prep.sources.rows import VideoEntry
from lightning_artv.errors import UserError
from tests.data_prep.damage import encode, moving


class Recorder(ContentDetector):
    """PySceneDetect's detector, untouched; keeps each frame's score.

    A StatsManager would keep them too, but computes edges for every frame.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__(threshold=threshold)
        self.values: list[float] = []

    def process_frame(self, timecode: FrameTimecode, frame_img: np.ndarray) -> Any:
        cuts = super().process_frame(timecode, frame_img)
        assert self._frame_score is not None
        self.values.append(self._frame_score)
        return cuts


def reference(
    path: Path, step: int = 1, threshold: float = 27.0
) -> tuple[list[float], list[float]]:
    """Scores of the frames but the first, and cuts in seconds."""
    detector, manager = Recorder(threshold), SceneManager()
    manager.add_detector(detector)
    manager.detect_scenes(VideoStreamAv(str(path), suppress_output=True), frame_skip=step - 1)
    scenes = manager.get_scene_list()
    return detector.values[1:], [start.seconds for start, _ in scenes[1:]]


def row(path: Path, **options: Any) -> dict[str, Any]:
    found = analyse(VideoEntry("key", str(path), "a caption"), AnalyseOptions(**options))
    assert found["status"] == "ok", found["error"]
    return found


def scenes(height: int, width: int) -> np.ndarray:
    """Four scenes of 20 frames; the third is too short for a scene of its own."""
    clip = moving(66, height, width, speed=1)
    clip[20:40] = 255 - clip[20:40]
    clip[40:46] = clip[40:46, :, :, ::-1] // 2
    return clip


@pytest.mark.parametrize(
    ("size", "pix_fmt"),
    [
        ((96, 128), "yuv420p"),  # not reduced
        ((270, 480), "yuv420p"),
        ((512, 512), "yuv420p"),  # by exactly 2
        ((256, 340), "yuv420p"),  # FFmpeg writes BGRA of this width incompletely
        ((90, 124), "yuv420p"),
        ((270, 426), "yuv420p"),
        ((301, 304), "yuv444p"),
        ((361, 301), "yuv444p"),
        ((300, 400), "yuv422p10le"),
        ((256, 304), "gray"),
    ],
)
def test_scores_and_cuts_equal_pyscenedetects(
    tmp_path: Path, size: tuple[int, int], pix_fmt: str
) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(encode(scenes(*size), pix_fmt=pix_fmt))
    scores, cuts = reference(path)
    found = row(path)
    assert found["motion"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert found["cuts"] == pytest.approx(cuts)
    assert len(cuts) > 0
    assert found["frames"] == 66
    assert (found["motion_step"], found["motion_fps"]) == (1, 24)
    assert found["motion_version"].startswith("scenedetect 0.")


@pytest.mark.parametrize(("step", "threshold"), [(2, 27.0), (3, 40.0)])
def test_step_and_threshold_mean_what_they_mean_there(
    tmp_path: Path, step: int, threshold: float
) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(encode(scenes(270, 480)))
    scores, cuts = reference(path, step, threshold)
    found = row(path, step=step, cut_threshold=threshold)
    assert found["motion"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert found["cuts"] == pytest.approx(cuts)
    assert (found["motion_step"], found["motion_fps"]) == (step, pytest.approx(24 / step))
    assert found["motion"] != pytest.approx(row(path)["motion"], rel=0.01)


def test_cuts_of_variable_frame_rates_are_in_seconds(tmp_path: Path) -> None:
    clip = scenes(96, 128)
    times = np.cumsum([40 + 20 * (k % 3) for k in range(len(clip))]).tolist()
    path = tmp_path / "video.mkv"
    path.write_bytes(encode(clip, times_ms=times, container="matroska"))
    found = row(path)
    _, cuts = reference(path)
    assert found["cuts"] == pytest.approx(cuts)
    assert (times[20] - times[0]) / 1000 == pytest.approx(found["cuts"][0])
    assert found["variable_fps"]


@given(
    quiet=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    gaps=st.lists(st.integers(1, 90), min_size=1, max_size=5),
)
def test_cuts_are_those_of_the_filter_that_sees_every_picture(
    quiet: list[int], gaps: list[int]
) -> None:
    """`quiet` pictures between any two cuts, shown irregularly."""
    scores = [s for count in quiet for s in [*[1.0] * count, 30.0]] + [1.0] * 20
    times = np.cumsum([0, *(gaps[k % len(gaps)] for k in range(len(scores)))]).tolist()
    base, rate = Fraction(1, 1000), Fraction(25)
    flashes = FlashFilter(FlashFilter.Mode.MERGE, MIN_SCENE_FRAMES)
    wanted = []
    for time, score in zip(times, [0.0, *scores], strict=True):
        moment = FrameTimecode(Timecode(time, base), rate)
        wanted += [cut.seconds for cut in flashes.filter(moment, score >= 27)]
    shown = [time + 7 for time in times]  # the first need not be shown at 0
    assert find_cuts(scores, shown, base, rate, 27.0) == sorted(set(wanted))


def test_scores_have_their_closed_form() -> None:
    """Grey pictures have no hue and no saturation: only V differs, and counts a third."""
    score = ContentScore()
    for level in (10, 40, 25):
        score.add(np.full((5, 7, 3), level, np.uint8))
    assert score.scores == pytest.approx([10, 5])
    assert score.values == pytest.approx([10, 40, 25])


@pytest.mark.parametrize("size", [(256, 10), (257, 9), (1920, 1080), (80, 4000), (100, 100)])
def test_pictures_are_reduced_as_scene_manager_does(size: tuple[int, int]) -> None:
    factor = compute_downscale_factor(max(size))
    wanted = tuple(max(1, round(side / factor)) for side in size)
    assert analysis_size(*size) == (wanted if max(size) > 256 else None)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(UserError, match="got 0 and 27"):
        AnalyseOptions(step=0)
    with pytest.raises(UserError, match="positive"):
        AnalyseOptions(cut_threshold=0)


@needs_clips
@pytest.mark.parametrize(
    "name",
    ["arm-wrestling.mp4", "plant-window-sill.mp4", "child-riding.mp4", "skateboard-dog.avi"],
)
def test_real_clips_equal_pyscenedetects(name: str) -> None:
    scores, cuts = reference(CLIPS / name)
    found = row(CLIPS / name)
    assert found["motion"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert found["cuts"] == pytest.approx(cuts)
    assert found["frames"] == len(scores) + 1
