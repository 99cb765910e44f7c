"""Brightness, sharpness, black and frozen shares, watermark suspicion, hashes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_prep.measure.analyse import analyse
from data_prep.measure.quality import HASHED, EvenSample, perceptual_hash, sharpness, watermark
from data_prep.options import AnalyseOptions
from data_prep.sources.rows import VideoEntry
from lightning_artv.data.encode import encode_lossless
from tests.data_prep.damage import encode, moving


def row(folder: Path, video: bytes) -> dict[str, Any]:
    path = folder / "video.mp4"
    path.write_bytes(video)
    found = analyse(VideoEntry("key", str(path), "a caption"), AnalyseOptions())
    assert found["status"] == "ok", found["error"]
    return found


def grey(clip: np.ndarray) -> list[np.ndarray]:
    return [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip]


def overlaid(clip: np.ndarray, alpha: float) -> np.ndarray:
    """The clip with white text across it."""
    mask = np.zeros(clip.shape[1:3], np.uint8)
    place = (clip.shape[2] // 8, clip.shape[1] // 2)
    cv2.putText(mask, "STOCK", place, cv2.FONT_HERSHEY_SIMPLEX, 1.4, 255, 3)
    weight = alpha * mask[None, :, :, None] / 255
    return (clip * (1 - weight) + 255 * weight).astype(np.uint8)


def test_brightness_black_and_frozen_shares_have_closed_forms(tmp_path: Path) -> None:
    """Ten pictures: two black, then two red ones, a pair of greens, and four greys."""
    colours = [(0, 0, 0)] * 2 + [(200, 0, 0)] * 2 + [(0, 90, 30)] * 2
    colours += [(40, 40, 40), (80, 80, 80), (120, 120, 120), (160, 160, 160)]
    clip = np.array(colours, np.uint8)[:, None, None].repeat(32, axis=1).repeat(48, axis=2)
    found = row(tmp_path, encode_lossless(clip, 8))
    assert found["brightness"] == pytest.approx(np.mean([max(c) for c in colours]))
    assert found["black_share"] == pytest.approx(0.2)
    assert found["frozen_share"] == pytest.approx(3 / 9)
    assert found["sharpness"] == 0
    assert found["watermark"] == 0


def test_sharpness_of_a_chequerboard_is_exact() -> None:
    board = np.indices((20, 30)).sum(axis=0) % 2
    picture = (100 + 10 * board).astype(np.uint8)  # its Laplacian is 40 and -40 in turn
    assert sharpness([picture]) == pytest.approx(1600)
    assert sharpness([picture, np.full((20, 30), 7, np.uint8)]) == pytest.approx(800)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    pictures = [cv2.resize(p, (77, 51)) for p in grey(moving(3))]
    wanted = [cv2.Laplacian(p, cv2.CV_64F).var() for p in pictures]
    assert sharpness(pictures) == pytest.approx(np.mean(wanted), rel=1e-12)


def test_blur_lowers_sharpness() -> None:
    clip = grey(moving(3))
    assert sharpness([cv2.GaussianBlur(p, (5, 5), 2) for p in clip]) < sharpness(clip) / 2


@given(
    count=st.integers(1, 500),
    expected=st.integers(0, 600),
    limit=st.sampled_from([2, 4, 16]),
)
def test_samples_are_even_and_few(count: int, expected: int, limit: int) -> None:
    sample = EvenSample(expected, limit)
    for number in range(count):
        digits = np.array([[divmod(number, 256)]], np.uint8).reshape(1, 2, 1)
        sample.offer(digits.repeat(4, axis=2))
    numbers = [256 * int(p[0, 0]) + int(p[0, 1]) for p in sample.pictures]
    assert 1 <= len(numbers) <= limit
    stride = numbers[1] - numbers[0] if len(numbers) > 1 else count
    assert numbers == [k * stride for k in range(len(numbers))]
    assert len(numbers) * stride >= count  # the end is covered as well as the rest
    if expected <= count and count >= limit:
        assert len(numbers) >= limit // 2


def test_a_static_overlay_on_a_moving_picture_is_suspicious() -> None:
    clip = 60 + moving(16, 180, 256, speed=7) // 2
    clean, faint, strong = (watermark(grey(overlaid(clip, alpha))) for alpha in (0, 0.5, 1))
    assert clean is not None and faint is not None and strong is not None
    assert clean < 0.001
    assert faint > 0.005
    assert strong > 0.005


def test_an_overlay_that_moves_with_the_picture_is_not() -> None:
    still = overlaid(moving(1, 180, 400), 1)[0]
    clip = np.stack([still[:, 7 * k : 7 * k + 256] for k in range(16)])
    score = watermark(grey(clip))
    assert score is not None and score < 0.001


def test_a_still_camera_tells_nothing() -> None:
    scene = moving(1, 180, 256).repeat(16, axis=0)
    for k in range(16):  # something walks through it
        scene[k, 40:140, 10 * k : 10 * k + 60] = moving(1, 100, 60)[0]
    assert watermark(grey(overlaid(scene, 1))) is None
    assert watermark(grey(moving(3, 180, 256))) is None  # too few pictures


def test_hash_is_imagehashs_of_three_pictures() -> None:
    """Of 2 x 4 pixels on average each: the pictures are 128 x 256."""
    pictures = grey(moving(12, 128, 256))
    small = [p.reshape(64, 2, 64, 4).mean(axis=(1, 3)) for p in pictures]
    halves_up = [np.floor(p + 0.5).astype(np.uint8) for p in small]
    wanted = [str(imagehash.phash(Image.fromarray(halves_up[int(12 * at)]))) for at in HASHED]
    assert perceptual_hash(pictures) == "".join(wanted)
    assert len(perceptual_hash(pictures)) == 48
    assert perceptual_hash(pictures[:2])


def test_copies_have_near_hashes_and_others_far_ones(tmp_path: Path) -> None:
    clip = moving(30, 192, 256)
    small = np.stack([cv2.resize(f, (128, 96), interpolation=cv2.INTER_AREA) for f in clip])
    hashes = [
        int(row(tmp_path, video)["phash"], 16)
        for video in (encode(clip), encode(small), encode(clip[:, ::-1]))
    ]
    assert (hashes[0] ^ hashes[1]).bit_count() <= 12
    assert (hashes[0] ^ hashes[2]).bit_count() >= 60
