"""Odd files: every frame, its time and its picture are those that ffmpeg's command line shows.

Where there is no ffmpeg, they are compared with what Debian's 5.1 showed (`odd_files.json`, written
by `python tests/data/test_odd_files.py`).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from odd_files import ODD_FILES, SHAPES
from odd_starts import MORE_FILES, MORE_SHAPES

from data_prep.measure.analyse import analyse
from data_prep.options import AnalyseOptions, Limits
from data_prep.shards.transcode import prepare
from data_prep.sources.rows import VideoEntry
from lightning_artv.data.decode import Video

RECORDED = Path(__file__).with_name("odd_files.json")
FFMPEG = shutil.which("ffmpeg")
SIDE = 16
CLOSE = 7 if FFMPEG else 12
"""Grey levels by which two scalers' chroma may differ, and two runs of an encoder where the frames
are recorded ones; from frame to frame it is 16."""

ALL_FILES = {**ODD_FILES, **MORE_FILES}
ALL_SHAPES = {**SHAPES, **MORE_SHAPES}

TIMES_OF_DECODING = (
    *("raw.h264", "raw with B-frames.h264", "h264.avi", "h264 with B-frames.asf"),
    *("a little below 0.flv", "half below 0.flv", "half below 0, without B-frames.flv"),
)
"""Files without times of display, or with a clock that runs over, for which ffmpeg's own times are
no truth: one comes twice, or time goes back."""


@cache
def recorded() -> dict[str, Any]:
    return json.loads(RECORDED.read_text())


def shown_by_ffmpeg(path: Path) -> tuple[list[float], list[str]]:
    """Each frame's seconds since the first, and its 4 x 4 x 3 mean colours as hexadecimal digits.

    Of several streams ffmpeg chooses.
    """
    command = [
        FFMPEG or "ffmpeg",
        "-nostdin",
        "-threads",
        "1",
        "-i",
        str(path),
        "-an",
        "-sn",
        "-dn",
    ]
    filters = f"showinfo,scale={SIDE}:{SIDE}:flags=area"
    output = ["-dn", "-vsync", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    done = subprocess.run(
        [*command, "-vf", filters, *output], capture_output=True, check=False, timeout=60
    )
    found = re.findall(r"n: *\d+ pts: *\S+ pts_time:(\S+)", done.stderr.decode(errors="replace"))
    times = [float(time) for time in found]
    pictures = np.frombuffer(done.stdout, np.uint8).reshape(-1, SIDE, SIDE, 3)
    return [round(time - times[0], 6) for time in times], [signature(p) for p in pictures]


def signature(picture: np.ndarray) -> str:
    """Mean colours of 4 x 4 parts of a picture uint8 `[H, W, 3]`, away from edges and middle."""
    rows = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()
    parts = torch.nn.functional.adaptive_avg_pool2d(rows, 8)[0].permute(1, 2, 0)
    small = parts[[1, 2, 5, 6]][:, [1, 2, 5, 6]]
    return bytes(small.round().byte().flatten().tolist()).hex()


def expected(name: str, path: Path) -> tuple[list[float], list[str]]:
    if FFMPEG:
        return shown_by_ffmpeg(path)
    return recorded()[name]["times"], recorded()[name]["pictures"]


def check_pictures(found: Sequence[np.ndarray], wanted: Sequence[str], close: float) -> None:
    assert len(found) == len(wanted)
    for number, (picture, digits) in enumerate(zip(found, wanted, strict=True)):
        mine = np.frombuffer(bytes.fromhex(signature(picture)), np.uint8).astype(int)
        theirs = np.frombuffer(bytes.fromhex(digits), np.uint8).astype(int)
        assert abs(mine - theirs).max() <= close, f"frame {number}"


@pytest.mark.parametrize("name", ALL_FILES)
def test_every_frame_and_time_is_what_ffmpeg_shows(name: str, tmp_path: Path) -> None:
    data = ALL_FILES[name]()
    path = tmp_path / f"video{Path(name).suffix}"
    path.write_bytes(data)
    times, pictures = expected(name, path)
    with Video(data) as video:
        frames = video.frames(range(len(video.timestamps))).permute(0, 2, 3, 1).numpy()
        timestamps = video.timestamps
        backwards = video.frames(range(len(timestamps))[::-3]).permute(0, 2, 3, 1).numpy()
        decoded = [video.index(frame) for frame in video.decode()]
    assert frames.shape[1:3] == ALL_SHAPES.get(name, (32, 48))
    check_pictures(frames, pictures, CLOSE)
    check_pictures(backwards, pictures[::-3], CLOSE)
    assert decoded == list(range(len(times)))
    if name not in TIMES_OF_DECODING:
        assert timestamps == pytest.approx(times, abs=2e-3)
    else:
        assert timestamps == pytest.approx([k / 24 for k in range(len(times))], abs=2e-3)
    row = analyse(VideoEntry("key", str(path), "a caption"), AnalyseOptions())
    assert (row["status"], row["frames"]) == ("ok", len(times)), row["error"]
    stored = prepare(data, Limits())
    with Video(stored.video) as video:
        again = video.frames(range(len(video.timestamps))).permute(0, 2, 3, 1).numpy()
        assert video.timestamps == pytest.approx(timestamps, abs=2e-3)
    check_pictures(again, pictures, CLOSE + 3)
    assert stored.meta["frames"] == len(times)
    assert "lost" not in stored.meta


def test_the_table_is_long_and_recorded() -> None:
    assert len(ALL_FILES) >= 100
    assert recorded().keys() == ALL_FILES.keys()
    assert RECORDED.stat().st_size < 300_000


def record() -> None:
    facts = {}
    for name, make in ALL_FILES.items():
        path = Path(sys.argv[1]) / f"video{Path(name).suffix}"
        path.write_bytes(make())
        times, pictures = shown_by_ffmpeg(path)
        facts[name] = {"times": times, "pictures": pictures}
    RECORDED.write_text(json.dumps(facts, indent=0) + "\n")


if __name__ == "__main__":
    record()
