"""From clips to metrics: closed forms of hand-made records."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from evaluation.metrics import DriftCurve
from evaluation.shapes.metrics_table import METRICS
from evaluation.shapes.summary import CURVES, ClipRecord, mean, plain, record, summarise
from lightning_artv.synthetic.worlds import world_at

WORLDS = [world_at(i, seed=5, split="heldout") for i in range(3)]


def made_of(curve: np.ndarray, *words: dict[str, str | None]) -> ClipRecord:
    return ClipRecord({name: curve for name in CURVES}, words)


def all_right(world: object) -> dict[str, str | None]:
    return {word: getattr(world, word) for word in ("direction", "speed", "color", "shape")}


NOTHING: dict[str, str | None] = dict.fromkeys(("direction", "speed", "color", "shape"))


def test_a_record_is_of_every_frame_and_window() -> None:
    world = WORLDS[0]
    frames = world.video(32)
    rng = np.random.default_rng(0)
    frames[20:] = np.clip(frames[20:] + rng.normal(0, 10, frames[20:].shape), 0, 255)
    measured = record(frames, world)
    videos = torch.from_numpy(frames).permute(0, 3, 1, 2)
    expected = peak_signal_noise_ratio(
        videos[25].double(),
        torch.from_numpy(world.render(25)).permute(2, 0, 1).double(),
        data_range=255.0,
    )
    assert measured.curves["psnr"].shape == (32,)
    assert measured.curves["psnr"][25] == pytest.approx(float(expected))
    assert set(measured.curves["psnr"][:20]) == {100.0}
    drift = DriftCurve(32)
    drift.update(videos[None])
    looks = {name: values for name, values in measured.curves.items() if "psnr" not in name}
    for name, change in drift.result().curves.items():  # against the mean of the first 15 %
        assert np.allclose(looks[name] - looks[name][:4].mean(), change)
    assert measured.words == (all_right(world), all_right(world))


def test_a_word_is_right_wrong_or_left_out() -> None:
    frames = np.zeros(16)
    truth = [
        made_of(frames, all_right(WORLDS[0])),
        made_of(frames, all_right(WORLDS[1])),
        made_of(frames, NOTHING),
    ]
    made = [truth[0], made_of(frames, NOTHING), made_of(frames, all_right(WORLDS[2]))]
    summary = summarise(made, truth, WORLDS)
    assert summary.per_clip["direction@16"] == [1.0, 0.0, None]
    assert summary.metrics["direction@16"] == 0.5
    assert summary.per_clip["direction@128"] == [None, None, None]
    assert summary.metrics["direction@128"] is None
    assert summary.curves["color"] == [0.5]


def test_long_and_short_clips_meet_in_the_first_frames_alone() -> None:
    long, short = np.arange(128.0), np.arange(100.0, 116.0)
    right, wrong = all_right(WORLDS[0]), NOTHING
    made = [made_of(long, *[right] * 7, wrong), made_of(short, all_right(WORLDS[1]))]
    truth = [made_of(long, *[right] * 8), made_of(short, all_right(WORLDS[1]))]
    summary = summarise(made, truth, WORLDS[:2])
    assert summary.per_clip["psnr@8"] == [8.0, 108.0]
    assert summary.per_clip["background_psnr@15"] == [15.0, 115.0]
    assert summary.per_clip["psnr@127"] == [127.0, None]
    assert summary.metrics["psnr@127"] == 127.0
    assert summary.curves["psnr"] == long.tolist()
    assert summary.per_clip["shape@16"] == [1.0, 1.0]
    assert summary.per_clip["shape@128"] == [0.0, None]
    assert summary.curves["shape"] == [1.0] * 7 + [0.0]


def test_drift_leaves_the_given_frame_out_and_only_psnr_is_signed() -> None:
    curve = np.full(128, 5.0)
    curve[0], curve[1:20], curve[-19:] = 1000.0, 2.0, 8.0  # 15 % of 127 frames are 19
    words = [all_right(WORLDS[0])] * 8
    clip = made_of(curve, *words)
    summary = summarise([clip], [clip], WORLDS[:1])
    assert summary.metrics["drift_psnr"] == pytest.approx(-6.0)
    assert summary.metrics["drift_background_psnr"] == pytest.approx(-6.0)
    for look in ("contrast", "sharpness", "saturation", "brightness"):
        assert summary.metrics[f"drift_{look}"] == pytest.approx(6.0)
    short = made_of(curve[:16], words[0])
    assert summarise([short], [short], WORLDS[:1]).metrics["drift_psnr"] is None


def test_a_shape_lasts_until_the_first_window_without_its_colour() -> None:
    right, gone = all_right(WORLDS[0]), NOTHING
    other = {**right, "shape": "triangle" if WORLDS[0].shape != "triangle" else "circle"}
    true = made_of(np.zeros(64), right, right, right, right)
    hidden = made_of(np.zeros(64), right, gone, right, right)  # the truth tells nothing there
    for truth, words, lasts, identity in (
        (true, (right, right, right, right), 64, 1.0),
        (true, (right, gone, right, right), 16, 0.75),
        (true, (gone, gone, gone, gone), 0, 0.0),
        (true, (right, other, other, gone), 48, 0.25),
        (hidden, (right, gone, right, right), 64, 1.0),
        (hidden, (right, gone, other, gone), 48, 1 / 3),
    ):
        metrics = summarise([made_of(np.zeros(64), *words)], [truth], WORLDS[:1]).metrics
        assert (metrics["lasts"], metrics["identity"]) == (lasts, pytest.approx(identity))
    short = made_of(np.zeros(16), right)
    metrics = summarise([short], [short], WORLDS[:1]).metrics
    assert metrics["lasts"] is metrics["identity"] is None


def test_the_table_knows_every_metric() -> None:
    clip = made_of(np.zeros(16), all_right(WORLDS[0]))
    names = set(summarise([clip], [clip], WORLDS[:1]).metrics) | {"FVD", "FVD@128", "KVD", "IS"}
    assert names == set(METRICS)
    assert METRICS["background_psnr@127"].higher_is_better
    assert not METRICS["drift_psnr"].higher_is_better
    assert METRICS["FVD"].title == "shapes-FVD"


def test_none_stands_for_what_does_not_apply() -> None:
    assert mean([1.0, math.nan, 2.0]) == 1.5
    assert mean([math.nan]) is None
    assert plain([math.nan, 3.0]) == [None, 3.0]
