"""Decoding: exact frames, and no more of them than needed."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
import torch
from real_clips import CLIPS, needs_clips
from videos import encode, number, numbered

from lightning_artv.data.decode import DecodeError, Video, square
from lightning_artv.data.encode import encode_lossless
from lightning_artv.errors import UserError
from lightning_artv.synthetic.scenes import scene_at


def test_lossless_shapes_decode_to_exactly_the_rendered_frames() -> None:
    scene = scene_at(0, seed=3)
    with Video(encode_lossless(scene.video(), 8)) as video:
        frames = video.frames([15, 0, 7, 7], (32, 32))
    expected = np.stack([scene.render(t) for t in (15, 0, 7, 7)])
    assert frames.dtype == torch.uint8
    assert frames.shape == (4, 3, 32, 32)
    assert (frames.permute(0, 2, 3, 1).numpy() == expected).all()


def test_the_same_frames_encode_to_the_same_bytes() -> None:
    frames = scene_at(1, seed=3).video()
    assert encode_lossless(frames, 8) == encode_lossless(frames, 8)


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp4", "libx264"), ("matroska", "libx264"), ("mp4", "mpeg4"), ("avi", "mpeg4")],
)
def test_frames_are_found_in_every_container_with_b_frames(container: str, codec: str) -> None:
    data = encode(numbered(40), container, codec)
    with Video(data) as video:
        assert len(video.timestamps) == 40
        assert video.timestamps == pytest.approx([k / 24 for k in range(40)], abs=1e-3)
        wanted = [30, 3, 29, 0, 39]
        assert [number(frame) for frame in video.frames(wanted, (32, 32))] == wanted
        again = [17, 16]  # the same open video can be asked again
        assert [number(frame) for frame in video.frames(again, (32, 32))] == again
        for _ in range(2):
            pictures = [frame.to_ndarray(format="rgb24") for frame in video.decode()]
            every = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
            assert [number(frame) for frame in every] == list(range(40))


def test_all_frames_are_decoded_one_by_one() -> None:
    with Video(encode(numbered(40), gop=10, b_frames=0)) as video:
        frames = video.decode()
        assert video.decoded == 0
        next(frames)
        assert video.decoded == 1


def test_only_the_needed_frames_are_decoded() -> None:
    intra = encode_lossless(numbered(24), 8)
    with Video(intra) as video:
        video.frames([20, 19, 18, 12], (32, 32))
        assert video.decoded == 4
    grouped = encode(numbered(40), gop=10, b_frames=0)
    with Video(grouped) as video:
        assert video.decoded == 0
        video.frames([23, 22], (32, 32))
        assert video.decoded == 4  # 20 .. 23
    with Video(grouped) as video:
        video.frames([31, 2], (32, 32))
        assert video.decoded == 5  # 0 .. 2 and 30, 31


def test_a_variable_rate_keeps_its_times() -> None:
    times = [0, 40, 50, 300, 1000]
    with Video(encode(numbered(5), times_ms=times)) as video:
        assert video.timestamps == pytest.approx([t / 1000 for t in times], abs=1e-6)
        assert video.fps == pytest.approx(4.0)


def test_resizing_covers_then_crops_the_centre() -> None:
    frames = np.zeros((2, 48, 96, 3), np.uint8)
    frames[:, :, 24:72] = (0, 200, 0)  # the centre square; red outside it
    frames[:, :, :24] = frames[:, :, 72:] = (200, 0, 0)
    with Video(encode_lossless(frames, 8)) as video:
        square_crop = video.frames([1], (24, 24))[0]
        assert video.frames([0]).shape == (1, 3, 48, 96)
        assert video.frames([0], (64, 80)).shape == (1, 3, 64, 80)
    assert square_crop.shape == (3, 24, 24)
    assert square_crop[1].float().mean() > 190
    assert square_crop[0, :, 1:-1].max() < 10


def test_reduction_is_antialiased() -> None:
    stripes = np.zeros((2, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 255
    with Video(encode_lossless(stripes, 8)) as video:
        small = video.frames([0], (16, 16)).float()
    assert small.std() < 4
    assert small.mean() == pytest.approx(127.5, abs=3)


def test_wide_pixels_are_stretched() -> None:
    buffer = io.BytesIO()
    frame = np.zeros((32, 32, 3), np.uint8)
    frame[:, 8:24] = 255  # with pixels twice as wide, the centre 32 x 32 of 64 x 32 is all white
    with av.open(buffer, "w", format="mp4") as writer:
        stream = writer.add_stream("libx264rgb", rate=8, options={"crf": "0"})
        stream.height = stream.width = 32
        stream.pix_fmt = "rgb24"
        stream.codec_context.sample_aspect_ratio = 2
        writer.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        writer.mux(stream.encode())
    with Video(buffer.getvalue()) as video:
        assert video.frames([0], (32, 32))[..., 2:-2].min() > 200


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a readable video"),
        (b"no video at all" * 50, "not a readable video"),
        (encode_lossless(numbered(4), 8)[:300], "not a readable video"),
    ],
)
def test_damage_is_a_decode_error(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        Video(data)


def test_damaged_frames_are_a_decode_error() -> None:
    data = bytearray(encode_lossless(numbered(24), 8))
    start = data.index(b"mdat") + 4
    data[start : start + 3000] = bytes(3000)
    with pytest.raises(DecodeError), Video(bytes(data)) as video:
        video.frames([0, 1, 2, 3], (32, 32))


def test_sizes_are_one_number_or_two() -> None:
    assert square(8) == (8, 8)
    assert square([8, 16]) == (8, 16)
    for bad in (0, (8, 8, 8), (8, -1)):
        with pytest.raises(UserError, match="size"):
            square(bad)


@needs_clips
@pytest.mark.parametrize(
    "name",
    ["pigeon-cp1251-metadata.mp4", "skateboard-dog.avi", "flipping_a_pancake.mkv"],
)
def test_awkward_real_clips_equal_a_full_decode(name: str) -> None:
    path = CLIPS / name
    with av.open(str(path), "r", metadata_errors="ignore") as reader:
        truth = [frame.to_ndarray(format="rgb24") for frame in reader.decode(video=0)]
    wanted = [len(truth) - 1, 13, 12, 41]
    with Video(path) as video:
        assert len(video.timestamps) == len(truth)
        frames = video.frames(wanted).permute(0, 2, 3, 1).numpy()
    for frame, index in zip(frames, wanted, strict=True):
        assert (frame == truth[index]).all()


def test_videos_filmed_on_the_side_are_turned_upright() -> None:
    frames = np.zeros((2, 32, 48, 3), np.uint8)
    frames[:, :, :24] = (200, 0, 0)  # the left half
    data = bytearray(encode_lossless(frames, 8))
    one, minus_one = (1 << 16).to_bytes(4, "big"), (-1 << 16).to_bytes(4, "big", signed=True)
    zero = bytes(4)
    upright = one + zero * 3 + one
    start = data.index(upright, data.index(b"tkhd"))
    data[start : start + 20] = zero + one + zero + minus_one + zero  # clockwise: left becomes top
    with Video(bytes(data)) as video:
        for frame in (video.frames([0])[0], video.frames([1], (48, 32))[0]):
            assert frame.shape == (3, 48, 32)
            assert frame[0, :20].min() > 190
            assert frame[0, 28:].max() < 10
