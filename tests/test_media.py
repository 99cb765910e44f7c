"""Pictures and videos: whole or not at all, at constant memory, and the same when read back."""

import gc
import io
import os
import resource
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from forks import ended
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from real_clips import CLIPS, needs_clips
from waiting import GUARD

from lightning_artv.errors import UserError
from lightning_artv.media import (
    gif_bytes,
    grid,
    open_writer,
    read_image,
    read_video,
    write_gif,
)
from lightning_artv.media.gif import GifEncoder

COLOURS = np.array(
    [[220, 30, 30], [30, 200, 40], [40, 60, 220], [240, 220, 40], [128, 128, 128]], dtype=np.uint8
)


def moving_square(t: int, height: int = 32, width: int = 48) -> np.ndarray:
    """A coloured square on grey that has moved `t` pixels; its colour changes every 10 frames."""
    image = np.full((height, width, 3), COLOURS[4], dtype=np.uint8)
    left = t % (width - 12)
    image[8:20, left : left + 12] = COLOURS[(t // 10) % 4]
    return image


def clip(frames: int, height: int = 32, width: int = 48) -> np.ndarray:
    return np.stack([moving_square(t, height, width) for t in range(frames)])


def write(path: Path, frames: np.ndarray, fps: float = 8) -> None:
    with open_writer(path, fps, frames.shape[1:3]) as writer:
        for frame in frames:
            writer.write(frame)


def psnr(a: np.ndarray | torch.Tensor, b: np.ndarray | torch.Tensor) -> float:
    difference = np.asarray(a).astype(float) - np.asarray(b).astype(float)
    return float(10 * np.log10(255**2 / max((difference**2).mean(), 1e-12)))


def gif_frames(data: bytes) -> tuple[np.ndarray, list[int]]:
    """Pillow's reading of a GIF: frames `[T, H, W, 3]` and their durations in milliseconds."""
    image = Image.open(io.BytesIO(data))
    frames, durations = [], []
    for index in range(image.n_frames):
        image.seek(index)
        frames.append(np.asarray(image.convert("RGB")))
        durations.append(image.info["duration"])
    return np.stack(frames), durations


# writing


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.MP4"])
def test_a_video_comes_back(tmp_path, name):
    frames = clip(40)
    write(tmp_path / name, frames)
    back = read_video(tmp_path / name)
    assert back.shape == frames.shape and back.dtype == torch.uint8
    assert psnr(back, frames) > 28
    for other in (-1, 1):  # frames are in order, none is doubled
        assert psnr(back, np.roll(frames, other, axis=0)) < 25
    assert os.listdir(tmp_path) == [name]


def test_mp4_keeps_flat_colours(tmp_path):
    for index, colour in enumerate(COLOURS):
        frames = np.broadcast_to(colour, (3, 32, 32, 3)).astype(np.uint8)
        write(tmp_path / f"{index}.mp4", frames)
        back = read_video(tmp_path / f"{index}.mp4").numpy().astype(int)
        assert np.abs(back - colour).max() <= 4


def test_mp4_is_what_plays_everywhere(tmp_path):
    write(tmp_path / "a.mp4", clip(12, 33, 47), fps=12.5)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
        assert stream.average_rate == 12.5 and stream.frames == 12
        assert (stream.height, stream.width) == (34, 48)
    back = read_video(tmp_path / "a.mp4")
    assert psnr(back[:, :33, :47], clip(12, 33, 47)) > 30
    assert torch.equal(back[:, 32, :47], back[:, 33, :47]) or psnr(back[:, 32], back[:, 33]) > 35
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")  # a browser can start before the end


@pytest.mark.parametrize("name", ["12:30.mp4", "pipe:1.mp4", "a %05d.mp4", "ünï.gif"])
def test_names_that_mean_something_to_ffmpeg_are_only_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(Path(name), clip(3))
    assert os.listdir(tmp_path) == [name] and len(read_video(name)) == 3


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 2)])
def test_tiny_videos_can_be_written(tmp_path, size):
    for name in ("a.mp4", "a.gif", "a"):
        write(tmp_path / name, np.full((3, *size, 3), 90, np.uint8))
    assert read_video(tmp_path / "a.mp4").shape == (
        3,
        size[0] + size[0] % 2,
        size[1] + size[1] % 2,
        3,
    )


def test_a_folder_of_pictures_is_lossless(tmp_path):
    frames = clip(12)
    write(tmp_path / "deep" / "frames", frames)
    names = sorted(os.listdir(tmp_path / "deep" / "frames"))
    assert names == [f"{index:05d}.png" for index in range(12)]
    back = [read_image(tmp_path / "deep" / "frames" / name) for name in names]
    assert np.array_equal(torch.stack(back).permute(0, 2, 3, 1), frames)


def test_torch_frames_in_the_models_layout_are_the_same(tmp_path):
    frames = clip(3)
    with open_writer(tmp_path / "a", 8, (32, 48)) as writer:
        for frame in frames:
            writer.write(torch.from_numpy(frame).permute(2, 0, 1))
        assert writer.frames == 3
    assert np.array_equal(read_image(tmp_path / "a" / "00002.png").permute(1, 2, 0), frames[2])


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_an_exception_leaves_nothing_and_keeps_what_was_there(tmp_path, name, error):
    target = tmp_path / name
    if target.suffix:
        target.write_bytes(b"before")
    with pytest.raises(error, match="mine"), open_writer(target, 8, (32, 48)) as writer:
        for t in range(60):
            writer.write(moving_square(t))
        raise error("mine")
    if target.suffix:
        assert os.listdir(tmp_path) == [name] and target.read_bytes() == b"before"
    else:
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a"])
def test_nothing_is_under_the_final_name_before_the_end(tmp_path, name):
    with open_writer(tmp_path / name, 8, (32, 48)) as writer:
        for t in range(60):
            writer.write(moving_square(t))
        assert not (tmp_path / name).exists()
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_a_file_is_replaced(tmp_path, name):
    write(tmp_path / name, clip(5))
    write(tmp_path / name, clip(9))
    assert len(read_video(tmp_path / name)) == 9


@pytest.mark.parametrize(
    ("name", "prepare", "words"),
    [
        ("a.webm", None, "name a .mp4, a .gif, or a folder"),
        ("a.mp4", "folder", "is a folder"),
        ("a", "full folder", "is a folder with something in it"),
        ("a", "file", "is a file"),
        ("file/a.mp4", "parent", "Cannot write"),
    ],
)
def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path, name, prepare, words):
    target = tmp_path / name
    if prepare in ("folder", "full folder"):
        target.mkdir()
    if prepare == "full folder":
        (target / "precious.txt").write_text("mine")
    if prepare in ("file", "parent"):
        (target if prepare == "file" else target.parent).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=words), open_writer(target, 8, (8, 8)):
        pytest.fail("the writer opened")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a"])
def test_a_second_writer_of_a_video_is_refused_and_disturbs_nothing(tmp_path, name):
    frames, path = clip(3), tmp_path / name
    for keep_partial in (True, False):
        with open_writer(path, 8, (32, 48), keep_partial, b"first") as first:
            first.write(frames[0])
            with (
                pytest.raises(UserError, match=r"Another process is writing .*: wait for its end"),
                open_writer(path, 8, (32, 48), keep_partial, b"second") as second,
            ):
                second.write(frames[2])
            first.write(frames[1])
        found = sorted(p.name for p in tmp_path.iterdir())
        assert found == sorted([name, f"{name}.json"])
        assert (tmp_path / f"{name}.json").read_bytes() == b"first"
        video = read_video(path) if path.suffix else [*path.iterdir()]
        assert len(video) == 2
        if not path.suffix:
            shutil.rmtree(path)


def test_no_frame_no_file(tmp_path):
    for name in ("a.mp4", "a.gif", "a"):
        with pytest.raises(UserError, match="No frame"), open_writer(tmp_path / name, 8, (8, 8)):
            pass
    with pytest.raises(UserError, match="frame rate"), open_writer(tmp_path / "a", 0, (8, 8)):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (np.zeros((8, 8, 3), np.float32), "uint8"),
        (np.zeros((8, 8), np.uint8), r"\[H, W, 3\]"),
        (torch.zeros(3, 9, 8, dtype=torch.uint8), r"\(9, 8\)"),
    ],
)
def test_a_frame_of_another_kind_is_refused(tmp_path, frame, words):
    with pytest.raises(ValueError, match=words), open_writer(tmp_path / "a", 8, (8, 8)) as writer:
        writer.write(frame)


def _on_a_full_disk(output):
    frames = np.random.default_rng(0).integers(0, 255, (60, 64, 64, 3), dtype=np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
    try:
        with open_writer(output, 8, (64, 64)) as writer:
            for frame in frames:
                writer.write(frame)
    except UserError as error:
        print(error)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, name):
    """A limit on the size of files stands for the disk: the system refuses to write more."""
    done = ended(tmp_path / "log", _on_a_full_disk, tmp_path / name)
    assert done.code == 0 and done.said.startswith(f"Cannot write {tmp_path / name}: ")
    assert done.said.count("\n") == 1
    assert os.listdir(tmp_path) == ["log"]


MEMORY = """
import resource, sys
import av
import numpy as np
from lightning_artv.media import open_writer
frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
peaks = []
with open_writer(sys.argv[1], 8, (64, 64)) as writer:
    for index in range(2000):
        writer.write(np.roll(frame, index, axis=1))
        if index in (199, 1999):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[1] - peaks[0])
"""


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_memory_does_not_grow_with_frames(tmp_path, name):
    """2,000 frames are 24 MB of pixels; the process may not grow by 6 after the first 200."""
    command = [sys.executable, "-c", MEMORY, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GUARD)
    assert int(done.stdout) < 6 * 1024


def test_python_memory_of_a_long_gif_is_constant(tmp_path):
    tracemalloc.start()
    try:
        with open_writer(tmp_path / "a.gif", 8, (32, 48)) as writer:
            for t in range(600):
                writer.write(moving_square(t))
                if t == 60:
                    gc.collect()
                    early = tracemalloc.get_traced_memory()[0]
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] - early < 60_000
    finally:
        tracemalloc.stop()


# GIFs


@pytest.mark.parametrize(("fps", "total"), [(8, 2000), (12, 1330), (30, 530), (50, 320)])
def test_gif_time_does_not_drift(fps, total):
    _, durations = gif_frames(gif_bytes(clip(16), fps))
    assert sum(durations) == pytest.approx(total, abs=5)
    assert max(durations) - min(durations) <= 10


def test_gif_loops_and_enlarges_by_whole_pixels(tmp_path):
    frames = clip(6)
    write_gif(tmp_path / "a.gif", frames, 8, scale=3)
    data = (tmp_path / "a.gif").read_bytes()
    assert Image.open(io.BytesIO(data)).info["loop"] == 0
    back, _ = gif_frames(data)
    assert back.shape == (6, 96, 144, 3)
    assert psnr(back, frames.repeat(3, axis=1).repeat(3, axis=2)) > 38


def test_gif_serves_colours_that_appear_late():
    """The common palette of a stream is made from the first frames; others stay recognisable."""
    frames = np.concatenate(
        [np.full((40, 16, 16, 3), 120, np.uint8), clip(20, 32, 48)[:, :16, :16]]
    )
    target = io.BytesIO()
    encoder = GifEncoder(target, 8)
    for frame in frames:
        encoder.add(frame)
    encoder.finish()
    back, _ = gif_frames(target.getvalue())
    assert len(back) == 60 and psnr(back[:40], frames[:40]) > 45
    for late, truth in zip(back[40:], frames[40:], strict=True):
        assert np.abs(late.mean((0, 1)) - truth.mean((0, 1))).max() < 12


@given(
    frames=st.integers(1, 20),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 9),
)
def test_gifs_of_any_size_can_be_read(frames, height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)
    back, durations = gif_frames(gif_bytes(torch.from_numpy(pixels), 10))
    assert back.shape == pixels.shape and durations == [100] * frames


def test_a_clip_of_another_kind_is_refused():
    for wrong in (np.zeros((2, 8, 8)), np.zeros((0, 8, 8, 3), np.uint8), torch.zeros(1, 8, 8, 3)):
        with pytest.raises(ValueError, match=r"\[T, H, W, 3\]"):
            gif_bytes(wrong, 8)


# reading


def test_size_scales_the_short_side_and_crops_the_centre(tmp_path):
    """A wide picture, left third red, middle green, right blue: a square crop is all green."""
    pixels = np.zeros((20, 60, 3), np.uint8)
    for third in range(3):
        pixels[:, third * 20 : third * 20 + 20, third] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    image = read_image(tmp_path / "wide.png", (10, 10))
    assert image.shape == (3, 10, 10) and image.dtype == torch.uint8 and image.is_contiguous()
    assert (image[1, :, 2:-2] >= 254).all() and (image[0] <= 60).all()
    assert read_image(tmp_path / "wide.png").shape == (3, 20, 60)
    assert read_image(tmp_path / "wide.png", (40, 120)).shape == (3, 40, 120)


def test_exif_orientation_is_applied(tmp_path):
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:, :10] = 255  # white to the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise: left becomes top
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    image = read_image(tmp_path / "turned.png")
    assert image.shape == (3, 20, 10)
    assert (image[:, :10] == 255).all() and (image[:, 10:] == 0).all()


def test_transparency_lies_on_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = [0, 0, 0, 255]
    pixels[1, 1] = [0, 0, 0, 51]
    Image.fromarray(pixels).save(tmp_path / "alpha.png")
    assert read_image(tmp_path / "alpha.png")[0].tolist() == [[0, 255], [255, 204]]


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "CMYK"])
def test_every_kind_of_picture_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (4, 4), "white").convert(mode).save(path)
    assert (read_image(path) >= 250).all()


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png")[0].tolist() == [[0, 128, 255]]


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    Image.fromarray(moving_square(0)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:80])
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("text.png", "cut.png", "empty.jpg"):
        with pytest.raises(UserError, match=f"{name} is not an image"):
            read_image(tmp_path / name)
    for name in ("missing.png", ""):
        with pytest.raises(UserError, match="There is no image"):
            read_image(tmp_path / name)


def test_postscript_is_never_run(tmp_path, monkeypatch):
    """Pillow hands EPS files to Ghostscript, an interpreter."""
    ran = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: ran.append(1))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(UserError, match="is not an image"):
        read_image(tmp_path / "a.png")
    assert not ran


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    with pytest.raises(UserError, match="is not a video"):
        read_video(tmp_path / "a.mp4")
    with pytest.raises(UserError, match="There is no video"):
        read_video(tmp_path / "b.mp4")


@needs_clips
def test_real_clips_can_be_read_and_written(tmp_path):
    frames = read_video(CLIPS / "child-riding.mp4")
    assert len(frames) == 8
    write(tmp_path / "a.mp4", frames.numpy())
    assert (
        psnr(read_video(tmp_path / "a.mp4")[:, : frames.shape[1], : frames.shape[2]], frames) > 32
    )


# grids


def test_grid_puts_truth_above_and_fills_the_last_row():
    clips = torch.arange(3, dtype=torch.uint8).reshape(3, 1, 1, 1, 1).expand(3, 2, 4, 5, 3)
    sheet = grid(clips, columns=2, truth=clips + 100, gap=1)
    assert sheet.shape == (2, 2 * 8 + 1, 2 * 5 + 1, 3) and sheet.dtype == torch.uint8
    for index, (top, left) in enumerate([(0, 0), (0, 6), (9, 0)]):
        assert (sheet[:, top : top + 4, left : left + 5] == 100 + index).all()
        assert (sheet[:, top + 4 : top + 8, left : left + 5] == index).all()
    assert (sheet[:, 8] == 255).all() and (sheet[:, :, 5] == 255).all()
    assert (sheet[:, 9:, 6:] == 255).all()


def test_grid_is_no_wider_than_its_clips_and_checks_shapes():
    clips = torch.zeros(2, 1, 4, 5, 3, dtype=torch.uint8)
    assert grid(clips, columns=9, gap=0).shape == (1, 4, 10, 3)
    with pytest.raises(ValueError, match="truth"):
        grid(clips, 1, truth=clips[:1])
    with pytest.raises(ValueError, match="grid needs"):
        grid(clips[0], 1)
    with pytest.raises(ValueError, match="grid needs"):
        grid(clips, 0)
