"""Metrics without weights, on videos whose truth is known."""

from __future__ import annotations

import colorsys
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from known_features import noise_videos
from torch import Tensor

from evaluation.looks import MEASURES, measures
from evaluation.metrics import DriftCurve, Flicker, MotionMagnitude
from evaluation.metrics.motion import _small_luma
from lightning_artv.errors import UserError

torch.set_num_threads(1)


def textured(height: int, width: int) -> Tensor:
    """A smooth random texture, uint8 `[3, H, W]`."""
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.uniform(0, 255, (height, width, 3)).astype(np.float32), (0, 0), 3)
    image = (image - image.min()) / (image.max() - image.min()) * 255
    return torch.from_numpy(image.astype(np.uint8)).permute(2, 0, 1)


def sliding(pixels: int, frames: int = 5, size: int = 96) -> Tensor:
    """A window that moves over a texture by so many pixels a frame, `[1, T, 3, H, W]`."""
    image = textured(size, size + pixels * frames)
    return torch.stack([image[:, :, i * pixels : i * pixels + size] for i in range(frames)])[None]


# --- flicker and motion --------------------------------------------------------------------------


def test_flicker_of_known_changes():
    still = noise_videos(3, frames=1).repeat(1, 6, 1, 1, 1)
    blinking = torch.zeros(1, 5, 3, 8, 8, dtype=torch.uint8)
    blinking[:, 1::2] = 51
    metric = Flicker()
    metric.update(still)
    assert float(metric.compute()) == 1
    metric.update(blinking)
    score = metric.result()
    assert score.value == pytest.approx((3 + 0.8) / 4, abs=1e-12)
    assert score.samples == 4 and score.sd == pytest.approx(0.1, abs=1e-12)
    assert score.standard_error == pytest.approx(0.05, abs=1e-12)


def test_flicker_is_vbench_formula():
    video = noise_videos(1, frames=4)
    frames = video[0].permute(0, 2, 3, 1).numpy().astype(np.float32)
    mae = np.mean([np.mean(cv2.absdiff(a, b)) for a, b in pairwise(frames)])
    metric = Flicker()
    metric.update(video)
    assert float(metric.compute()) == pytest.approx((255 - mae) / 255, abs=1e-6)


@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_motion_of_a_sliding_texture(pixels):
    metric = MotionMagnitude()
    metric.update(sliding(pixels))
    assert float(metric.compute()) == pytest.approx(100 * pixels / 96, rel=0.15, abs=0.01)


def test_motion_is_measured_on_small_frames():
    for shape, small in (((480, 640), (128, 171)), ((300, 128), (300, 128)), ((64, 80), (64, 80))):
        assert _small_luma(np.zeros((*shape, 3), np.uint8)).shape == small


def test_motion_does_not_depend_on_the_resolution():
    small, large = sliding(2), sliding(8, size=384)
    values = []
    for videos in (small, large):
        metric = MotionMagnitude()
        metric.update(videos)
        values.append(float(metric.compute()))
    assert values[0] == pytest.approx(values[1], rel=0.2)


def test_every_video_counts_the_same_in_any_batches():
    videos = noise_videos(7, frames=3, height=24, width=24)
    for kind in (Flicker, MotionMagnitude):
        whole, parts, other = kind(), kind(), kind()
        whole.update(videos)
        parts.update(videos[:2])
        other.update(videos[2:])
        parts.merge_state(other)
        assert parts.result().value == pytest.approx(whole.result().value, rel=1e-12)
        assert parts.result().sd == pytest.approx(whole.result().sd, rel=1e-9)
        assert whole.result().samples == 7


@pytest.mark.parametrize("kind", [Flicker, MotionMagnitude])
def test_too_little_is_refused(kind):
    with pytest.raises(UserError, match="at least 2 frames, got 1"):
        kind().update(noise_videos(1, frames=1))
    metric = kind()
    with pytest.raises(UserError, match="no videos"), pytest.warns(UserWarning, match="before"):
        metric.compute()
    metric.update(noise_videos(1, height=16, width=16))
    assert metric.result().sd is None


# --- drift ---------------------------------------------------------------------------------------


def test_measures_of_a_frame_against_opencv_and_colorsys():
    frame = textured(20, 31)
    image = np.ascontiguousarray(frame.permute(1, 2, 0).numpy())
    luma = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2GRAY)
    saturations = [colorsys.rgb_to_hsv(*pixel)[1] for pixel in image.reshape(-1, 3) / 255]
    expected = [
        cv2.Laplacian(luma, cv2.CV_32F, ksize=1).std(),
        np.mean(saturations),
        luma.mean(),
        luma.std(),
    ]
    found = measures(frame[None])
    assert found.shape == (1, 4) and found.dtype == torch.float64
    assert found[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_black_has_no_measure():
    assert measures(torch.zeros(2, 3, 8, 8, dtype=torch.uint8)).eq(0).all()


def fading(frames: int = 20) -> Tensor:
    """Grey that darkens by 5 of 255 a frame."""
    steps = (200 - 5 * torch.arange(frames)).to(torch.uint8)
    return steps.reshape(1, frames, 1, 1, 1).expand(1, frames, 3, 8, 8).contiguous()


def test_a_slow_fade_shows_in_the_drift_but_not_in_the_flicker():
    metric, flicker = DriftCurve(frames=20), Flicker()
    for update in (metric.update, flicker.update):
        update(fading())
    drift = metric.result()
    assert float(flicker.compute()) > 0.98
    # 15 % of 20 frames are three: from frame 1 to frame 18 it is 17 steps of 5
    assert drift.drift["brightness"] == pytest.approx(17 * 5 / 255)
    assert drift.curves["brightness"] == pytest.approx([(1 - t) * 5 / 255 for t in range(20)])
    for other in ("saturation", "contrast", "sharpness"):
        assert drift.drift[other] == pytest.approx(0, abs=1e-12)
    assert metric.compute().tolist() == [drift.drift[name] for name in MEASURES]


def test_each_measure_drifts_by_itself():
    colourful = textured(32, 32)[None, None].repeat(1, 10, 1, 1, 1)
    grey = colourful.float().mean(dim=2, keepdim=True).expand(-1, -1, 3, -1, -1)
    share = torch.linspace(0, 1, 10).reshape(1, 10, 1, 1, 1)
    fades = (colourful * (1 - share) + grey * share).round().to(torch.uint8)
    blurred = colourful.clone()
    for t in range(10):
        image = colourful[0, t].permute(1, 2, 0).numpy()
        image = cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), 0.1 + 0.3 * t)
        blurred[0, t] = torch.from_numpy(image).permute(2, 0, 1)
    drifts = {}
    for name, videos in (("grey", fades), ("blur", blurred)):
        metric = DriftCurve(frames=10)
        metric.update(videos)
        drifts[name] = metric.result()
    assert drifts["grey"].drift["saturation"] > 0.1
    assert drifts["grey"].drift["brightness"] < 0.02
    assert drifts["grey"].curves["saturation"][-1] < -0.1
    assert drifts["blur"].curves["sharpness"][-1] < -0.5 * float(measures(colourful[0])[0, 0])
    assert drifts["blur"].drift["brightness"] < 0.01


def test_drift_does_not_cancel_over_videos_but_the_curve_does():
    there, back = fading(), fading().flip(1)
    metric = DriftCurve(frames=20)
    metric.update(torch.cat([there, back]))
    drift = metric.result()
    assert drift.samples == 2
    assert drift.drift["brightness"] == pytest.approx(17 * 5 / 255)
    assert drift.drift_sd["brightness"] == pytest.approx(0, abs=1e-6)
    assert drift.curves["brightness"][-1] == pytest.approx(0)
    changes = np.array([-18, 18]) * 5 / 255
    assert drift.curves_sd["brightness"][-1] == pytest.approx(changes.std(ddof=1))


def test_drift_merges():
    videos = noise_videos(9, frames=6)
    whole, left, right = (DriftCurve(frames=6) for _ in range(3))
    whole.update(videos)
    left.update(videos[:2])
    right.update(videos[2:])
    left.merge_state(right)
    assert torch.allclose(left.compute(), whole.compute(), rtol=1e-12, atol=0)
    merged, once = left.result(), whole.result()
    assert merged.samples == 9
    assert merged.curves_sd["contrast"] == pytest.approx(once.curves_sd["contrast"], rel=1e-9)
    assert left.half().sums.dtype == torch.float64


def test_drift_refuses():
    for frames, share in ((1, 0.15), (16, 0.0), (16, 0.6)):
        with pytest.raises(UserError, match="at least 2 frames and a share"):
            DriftCurve(frames, share)
    with pytest.raises(UserError, match="videos of 6 frames, got 5"):
        DriftCurve(6).update(noise_videos(2, frames=5))
    with pytest.raises(UserError, match="no videos"):
        DriftCurve(6).result()
