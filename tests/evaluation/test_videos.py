"""Finding, ordering, cutting and resizing videos of any model."""

from __future__ import annotations

import random
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from miniature import write_avi, write_lossless
from PIL import Image
from torch import Tensor

from evaluation.finding import SetVideo, find_videos, natural_key
from evaluation.protocols import PRESETS
from evaluation.videos import (
    ClipRule,
    choose,
    clip_batches,
    fit,
    pixel_hash,
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


def test_everything_that_is_left_out_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "frames", clip(2))
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "2.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "10.png")
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "a.jpg", "a.wav", "b.wav", "c", "metadata.csv", ".b.mp4.part"):
        (tmp_path / "clips" / name).touch()
    said: list[str] = []
    assert [v.name for v in find_videos(tmp_path, said.append)] == ["clips/a", "frames"]
    assert sorted(said) == [
        f"Left out of '{tmp_path}': files that are no videos (2 .wav, 1 without suffix; the first "
        "is 'clips/a.wav').",
        f"Left out of '{tmp_path}': folders without a file (1; the first is 'empty').",
        f"Left out of '{tmp_path}': pictures beside videos, taken for thumbnails (1; the first is "
        "'clips/a.jpg').",
        f"Left out of '{tmp_path}': pictures in the folder itself, where frames of a video need a "
        "folder of their own (2; the first is '2.png').",
    ]
    find_videos(tmp_path)
    assert capsys.readouterr().err == "".join(f"warning: {sentence}\n" for sentence in said)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        *((".ts", "mpeg2video"), (".flv", "flv1"), (".m2ts", "mpeg2video"), (".3gp", "mpeg4")),
        *((".MPG", "mpeg2video"), (".wmv", "wmv2"), (".vob", "mpeg2video"), (".mkv", "mjpeg")),
        *((".mxf", "mpeg2video"), (".apng", "apng"), (".nut", "ffv1"), (".f4v", "mpeg4")),
        (".mjpeg", "mjpeg"),
    ],
)
def test_what_ffmpeg_reads_is_a_video(suffix: str, codec: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip{suffix}"
    formats = {".f4v": "mp4", ".m2ts": "mpegts", ".MPG": "mpeg", ".vob": "vob", ".wmv": "asf"}
    with av.open(str(path), "w", format=formats.get(suffix)) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = 144, 176
        stream.pix_fmt = {"mjpeg": "yuvj420p", "apng": "rgb24", "ffv1": "bgr0"}.get(
            codec, "yuv420p"
        )
        for value in range(40, 200, 20):
            grey = np.full((144, 176, 3), value, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    (video,) = find_videos(tmp_path)
    levels = read_clip(video, rule(8))[:, 0].float().mean(dim=(1, 2))
    assert (levels - torch.arange(40.0, 200.0, 20.0)).abs().max() < 4


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2), (3, 0, 1, 2)])
def test_arrays_are_videos(axes: tuple[int, ...], tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 16, 20, 3), dtype=np.uint8)
    np.save(tmp_path / "one.npy", frames.transpose(axes))
    many = np.stack([frames, 255 - frames]).transpose(0, *(axis + 1 for axis in axes))
    np.save(tmp_path / "many.npy", many)
    videos = find_videos(tmp_path)
    assert [v.name for v in videos] == ["many/0", "many/1", "one"]
    expected = torch.from_numpy(frames).permute(0, 3, 1, 2)[..., 2:18]
    assert torch.equal(read_clip(videos[2], rule(4)), expected)
    assert torch.equal(read_clip(videos[1], rule(3)), 255 - expected[:3])
    with pytest.raises(UserError, match="'one' has 4 frames and the protocol needs 5"):
        read_clip(videos[2], rule(5))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 8, 8, 3)),
        np.zeros((4, 8, 8), "u1"),
        np.zeros((0, 8, 8, 3), "u1"),
        np.array([{}], dtype=object),
    ],
)
def test_other_arrays_are_one_sentence(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match=r"a\.npy' (holds|is not an array)") as error:
        find_videos(tmp_path)
    assert "\n" not in str(error.value)


def test_arrays_beside_videos_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "frames", clip(2))
    np.save(tmp_path / "frames" / "poses.npy", np.zeros((2, 4, 4)))
    np.save(tmp_path / "labels.npy", np.array(["a", None], dtype=object))
    said: list[str] = []
    assert [v.name for v in find_videos(tmp_path, said.append)] == ["frames"]
    assert len(said) == 1 and "arrays that are no videos" in said[0]
    assert said[0].endswith("(2; the first is 'frames/poses.npy').")


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "v1", clip(2))
    (tmp_path / "set" / "sub").mkdir(parents=True)
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "sub" / "round").symlink_to(tmp_path / "set")
    assert [v.name for v in find_videos(tmp_path / "set")] == ["linked/v1"]


def test_folders_of_digit_like_characters_sort(tmp_path: Path) -> None:
    for name in ("m²", "²", "m2", "m10", "١"):
        write(tmp_path / name, clip(2))
    assert [v.name for v in find_videos(tmp_path)] == ["m2", "m10", "m²", "²", "١"]


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


def test_equal_pictures_have_one_hash_however_they_are_stored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8))
    write(tmp_path / "a", frames)
    (tmp_path / "b").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame.numpy()).save(tmp_path / "b" / f"{number}.bmp")
    np.save(tmp_path / "c.npy", frames.numpy())
    write_lossless(tmp_path / "d.mkv", frames.numpy())
    np.save(tmp_path / "e.npy", frames.flip(0).numpy())
    hashes = [pixel_hash(read_clip(video, rule(3))) for video in find_videos(tmp_path)]
    assert len(set(hashes[:4])) == 1 and hashes[4] != hashes[0]
    assert pixel_hash(torch.zeros(2, 3, 4, 8)) != pixel_hash(torch.zeros(2, 3, 8, 4))


def test_the_protocols_rules() -> None:
    p = PRESETS["ucf101-2048"].with_changes(["stride=2", "fps=10", "resolution=64"])
    assert ClipRule.real(p) == ClipRule(16, 2, 10.0, "random", 64, 0)
    assert ClipRule.fake(p) == ClipRule(16, 1, None, "start", 64, 0)
