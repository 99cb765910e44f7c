"""Finding, ordering, cutting and resizing videos of any model."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from miniature import write_avi
from PIL import Image
from torch import Tensor

from evaluation.protocols import PRESETS
from evaluation.videos import (
    ClipRule,
    SetVideo,
    choose,
    clip_batches,
    content_hash,
    find_videos,
    fit,
    natural_key,
    read_clip,
    read_first_frame,
)
from lightning_artv.errors import UserError
from lightning_artv.media import open_writer


def rule(frames: int = 4, **changes: object) -> ClipRule:
    options = {"stride": 1, "fps": None, "choice": "start", "resolution": 16, "seed": 0}
    return ClipRule(frames, **{**options, **changes})  # type: ignore[arg-type]


def clip(count: int, size: tuple[int, int] = (16, 16), first: int = 0) -> Tensor:
    """Frame i is grey of value 10 (first + i)."""
    values = torch.arange(first, first + count, dtype=torch.uint8) * 10
    return values[:, None, None, None].expand(count, *size, 3).contiguous()


def write(path: Path, frames: Tensor) -> Path:
    height, width = frames.shape[1:3]
    with open_writer(path, 8, (height, width)) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def test_frame2_comes_before_frame10(tmp_path: Path) -> None:
    folder = tmp_path / "video"
    folder.mkdir()
    for number in (10, 2, 1, 11, 3):
        Image.fromarray(np.full((16, 16, 3), number, np.uint8)).save(folder / f"frame{number}.png")
    video = find_videos(tmp_path)[0]
    assert read_clip(video, rule(5))[:, 0, 0, 0].tolist() == [1, 2, 3, 10, 11]


def test_videos_are_in_natural_order_folder_by_folder(tmp_path: Path) -> None:
    names = ["b/clip10.mp4", "b/clip9.mp4", "a10/x.gif", "a9/x.AVI", "v2.webm", "b/c/3.mkv"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = find_videos(tmp_path)
    assert [v.name for v in found] == ["a9/x", "a10/x", "b/c/3", "b/clip9", "b/clip10", "v2"]
    assert [v.label for v in found] == ["a9", "a10", "c", "b", "b", ""]


@given(st.lists(st.integers(0, 10**6), unique=True), st.randoms())
def test_numbers_sort_by_value(numbers: list[int], shuffle: random.Random) -> None:
    names = [f"take_{n}_x.png" for n in numbers]
    shuffle.shuffle(names)
    assert sorted(names, key=natural_key) == [f"take_{n}_x.png" for n in sorted(numbers)]


def test_hidden_names_thumbnails_and_the_root_are_no_videos(tmp_path: Path) -> None:
    write(tmp_path / "one", clip(2))
    write(tmp_path / "two", clip(2)).rename(tmp_path / ".two.123.part")
    (tmp_path / ".hidden.mp4").touch()
    Image.new("RGB", (4, 4)).save(tmp_path / "poster.png")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").touch()
    Image.new("RGB", (4, 4)).save(tmp_path / "clips" / "a.jpg")
    assert [v.name for v in find_videos(tmp_path)] == ["clips/a", "one"]
    with pytest.raises(UserError, match="holds no video"):
        find_videos(tmp_path / "one")
    with pytest.raises(UserError, match="no folder"):
        find_videos(tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "indices"),
    [
        ({}, [0, 1, 2, 3]),
        ({"choice": "centre"}, [3, 4, 5, 6]),
        ({"stride": 3}, [0, 3, 6, 9]),
        ({"choice": "centre", "stride": 2}, [1, 3, 5, 7]),
    ],
)
def test_chosen_frames(options: dict[str, object], indices: list[int]) -> None:
    assert choose(10, rule(4, **options), "v") == indices


def test_random_clips_depend_on_seed_and_name_alone_and_reach_everywhere() -> None:
    random_rule = rule(4, choice="random")
    starts = {choose(10, random_rule, f"v{i}")[0] for i in range(200)}
    assert starts == set(range(7))
    assert choose(10, random_rule, "v") == choose(10, random_rule, "v")
    others = [choose(1000, rule(4, choice="random", seed=seed), "v")[0] for seed in range(5)]
    assert len(set(others)) > 1


def test_too_short_videos_are_named() -> None:
    assert choose(7, rule(4, stride=2), "v") == [0, 2, 4, 6]
    with pytest.raises(UserError, match="'v' has 6 frames and the protocol needs 7"):
        choose(6, rule(4, stride=2), "v")


@pytest.mark.parametrize("name", ["x.mp4", "x.gif", "folder"])
def test_any_format_gives_the_same_clip(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, clip(6))
    made = read_clip(find_videos(tmp_path)[0], rule(4, choice="centre"))
    assert made.shape == (4, 3, 16, 16) and made.dtype == torch.uint8
    expected = clip(4, first=1).permute(0, 3, 1, 2)
    tolerance = 0 if name == "folder" else 3
    assert (made.int() - expected.int()).abs().max() <= tolerance


def test_real_avi_is_resampled_and_cut(tmp_path: Path) -> None:
    write_avi(tmp_path / "a.avi", frames=25, seed=0)
    video = find_videos(tmp_path)[0]
    every = read_clip(video, rule(25))
    half = read_clip(video, rule(10, fps=12.5))
    assert torch.equal(half, every[0:20:2])


def test_first_frame_is_the_one_of_the_same_clip(tmp_path: Path) -> None:
    write_avi(tmp_path / "a.avi", frames=25, seed=0)
    video = find_videos(tmp_path)[0]
    random_rule = rule(4, choice="random", seed=3)
    assert torch.equal(
        read_first_frame(video, random_rule, (16, 16)), read_clip(video, random_rule)[0]
    )
    assert read_first_frame(video, random_rule, (8, 24)).shape == (3, 8, 24)


def test_unreadable_and_unequal_videos_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"bad\.mp4' cannot be read"):
        read_clip(find_videos(tmp_path)[0], rule())
    folder = write(tmp_path / "frames", clip(4))
    Image.new("RGB", (8, 8)).save(folder / "00002.png")
    with pytest.raises(UserError, match="differ in size"):
        read_clip(SetVideo(folder, "frames"), rule())


def test_fit_keeps_pixels_crops_the_centre_and_antialiases() -> None:
    frames = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(fit(frames, (16, 16)), frames)
    wide = torch.zeros(1, 3, 8, 24, dtype=torch.uint8)
    wide[..., 8:16] = 200
    assert (fit(wide, (8, 8)) == 200).all()
    assert (fit(wide.transpose(2, 3), (8, 8)) == 200).all()
    checks = (torch.arange(48) % 2 * 255).to(torch.uint8).expand(1, 3, 48, 48)
    small = fit(checks, (16, 16)).float()
    assert (small[..., 2:-2] - 127.5).abs().max() < 30  # every third pixel alone: 0 or 255
    exact = F.interpolate(frames.double(), (9, 9), mode="bilinear", antialias=True)
    assert (fit(frames, (9, 9)) - exact).abs().max() <= 0.501  # rounded, not cut off
    assert fit(torch.full((1, 3, 8, 8), 255, dtype=torch.uint8), (20, 20)).min() == 255


def test_batches_keep_order_and_ragged_ends(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / f"v{number}", clip(2, first=number))
    videos = find_videos(tmp_path)
    batches = list(clip_batches(videos, rule(2), 2))
    assert [[v.name for v in batch] for batch, _ in batches] == [["v0", "v1"], ["v2", "v3"], ["v4"]]
    values = [clips[:, 0, 0, 0, 0].tolist() for _, clips in batches]
    assert values == [[0, 10], [20, 30], [40]]
    assert list(clip_batches([], rule(2), 2)) == []


def test_content_hash_is_of_pictures_in_order(tmp_path: Path) -> None:
    write(tmp_path / "a", clip(3))
    write(tmp_path / "b", clip(3))
    write(tmp_path / "c", clip(3).flip(0))
    a, b, c = (content_hash(video) for video in find_videos(tmp_path))
    assert a == b != c


def test_the_protocols_rules() -> None:
    p = PRESETS["ucf101-2048"].with_changes(["stride=2", "fps=10", "resolution=64"])
    assert ClipRule.real(p) == ClipRule(16, 2, 10.0, "random", 64, 0)
    assert ClipRule.fake(p) == ClipRule(16, 1, None, "start", 64, 0)
