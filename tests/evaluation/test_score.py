"""Scoring folders of videos: refusals, counts, missing weights, streaming, kept references."""

# ruff: noqa: F401, F811 (fixtures are imported and named again by the tests that use them)

from __future__ import annotations

import dataclasses
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from scoring_job import PIXELS, PROTOCOL, data, i3d, job, write_fakes
from torch import Tensor
from weight_files import write_i3d

from evaluation import score as module
from evaluation import videos as videos_module
from evaluation.finding import find_videos
from evaluation.meters import Weights
from evaluation.metrics import Score
from evaluation.protocols import PRESETS
from evaluation.reference import load_cached
from evaluation.result import Result, incomparable
from evaluation.score import Scoring, score
from evaluation.statistics import Reference
from lightning_artv.errors import CorruptWeightsError, UserError


def test_repeated_fakes_are_refused_and_counted(job: Scoring) -> None:
    for copy in ("copy1", "copy2"):
        shutil.copytree(job.fake / "video0", job.fake / copy)
    shutil.copytree(job.fake / "video3", job.fake / "other")
    every = dataclasses.replace(job, protocol=PIXELS.with_changes(["fake_count=9"]))
    with pytest.raises(UserError) as error:
        score(every)
    assert "3 of the 9 generated videos are exact copies of others" in str(error.value)


def test_unequal_n_is_said_and_so_is_what_the_protocol_asks_for(
    job: Scoring, i3d: Path, tmp_path: Path
) -> None:
    shutil.rmtree(job.fake / "video5")
    protocol = PROTOCOL.with_changes(["metrics=fvd,kvd"])
    result = score(dataclasses.replace(job, protocol=protocol, weights=Weights(i3d=i3d)))
    fvd = result.of("fvd")
    assert fvd is not None and (fvd.real, fvd.fake) == (6, 5)
    assert result.sets["fake"]["used"] == 5 and result.sets["real"] | {"fingerprint": ""} == {
        "found": 8,
        "used": 6,
        "fingerprint": "",
    }
    assert any("Unequal N: 6 real and 5 generated" in w for w in result.warnings)
    assert any("asks for 6 generated videos and there are 5" in w for w in result.warnings)
    assert any(
        "Biased: 5 generated videos where the protocol asks for 6" in w for w in result.warnings
    )
    assert any("changed protocol" in w for w in result.warnings)
    assert any("at least 16 videos" in w for w in result.warnings)


def test_equal_n_is_not_complained_about(job: Scoring) -> None:
    result = score(job)
    assert not any("Unequal" in w or "asks for" in w for w in result.warnings)
    assert [m.metric for m in result.measurements] == ["flicker", "drift", "motion"]
    assert all(m.status == "measured" and m.fake == 6 for m in result.measurements)


def test_too_many_fakes_are_drawn_from_not_cut_off(job: Scoring) -> None:
    four = dataclasses.replace(job, protocol=PIXELS.with_changes(["fake_count=3"]))
    result = score(four)
    assert result.sets["fake"]["found"] == 6 and result.sets["fake"]["used"] == 3
    assert any("3 of the 6 generated videos were drawn" in w for w in result.warnings)
    other = score(dataclasses.replace(four, protocol=four.protocol.with_changes(["seed=3"])))
    assert other.sets["fake"]["sha256"] != result.sets["fake"]["sha256"]


def test_missing_weights_skip_a_metric_without_a_number(job: Scoring, tmp_path: Path) -> None:
    result = score(dataclasses.replace(job, protocol=PROTOCOL))
    skipped = {m.metric: m for m in result.measurements if m.status == "skipped"}
    assert set(skipped) == {"fvd", "kvd", "is", "fid", "clipsim"}
    assert {m.metric for m in result.missing} == {"fvd", "kvd", "is", "fid"}
    assert "have no captions" in skipped["clipsim"].reason
    for m in result.missing:
        assert "missing: download" in m.reason and "\n" not in m.reason
    result.save(tmp_path / "r.json")
    written = json.loads((tmp_path / "r.json").read_text())["measurements"]
    assert [m["status"] for m in written] == ["skipped"] * 5 + ["measured"] * 3
    assert all("value" not in m and "sd" not in m for m in written[:5])
    Result.load(tmp_path / "r.json").save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "r.json").read_bytes()


def test_damaged_weights_end_the_command(job: Scoring, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "i3d_torchscript.pt").write_bytes(b"damaged")
    damaged = dataclasses.replace(job, protocol=PROTOCOL, weights=Weights(folder=folder))
    with pytest.raises(CorruptWeightsError, match=r"i3d_torchscript\.pt"):
        score(damaged)


def test_random_networks_only_when_asked_for_and_renamed(
    job: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fractions import Fraction

    from evaluation.features import random_features
    from evaluation.meters import base

    def small(kind: Any, seed: int) -> Any:
        return random_features(kind, seed, Fraction(1, 16))

    monkeypatch.setattr(base, "random_features", small)
    protocol = PROTOCOL.with_changes(["metrics=fvd,kvd"])
    weights = dataclasses.replace(job.weights, random_seed=3)
    result = score(dataclasses.replace(job, protocol=protocol, weights=weights))
    assert [m.label for m in result.measurements] == ["random-FVD", "random-KVD"]
    for m in result.measurements:
        assert m.features.startswith("random-i3d") and m.weights == {"random seed": "3"}
    other = score(dataclasses.replace(job, protocol=protocol, weights=Weights(random_seed=4)))
    assert incomparable([result, other]) == ["weights.fvd.random seed", "weights.kvd.random seed"]
    assert any("random weights (seed 3)" in w for w in result.warnings)


def test_the_real_side_is_kept_and_a_damaged_file_is_made_again(
    job: Scoring, i3d: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = PROTOCOL.with_changes(["metrics=fvd,kvd", "count=2"])
    fvd = dataclasses.replace(job, protocol=protocol, weights=Weights(i3d=i3d))
    fresh = score(fvd)
    (kept,) = fvd.cache.glob("*.safetensors")
    whole = kept.read_bytes()

    read: list[str] = []
    real = videos_module.read_clip

    def counting(video: Any, rule: Any) -> Tensor:
        read.append(video.name)
        return real(video, rule)

    monkeypatch.setattr(videos_module, "read_clip", counting)
    again = score(fvd)
    assert again.measurements == fresh.measurements
    assert len(read) == 2 and not any("Archery" in name for name in read)

    flipped = bytearray(whole)
    flipped[-9] ^= 64
    for damaged in (whole[:-7], b"", bytes(flipped)):
        kept.write_bytes(damaged)
        assert score(fvd).measurements == fresh.measurements
        assert "is damaged and is made again" in capsys.readouterr().err
    kept.with_suffix(".sha256").unlink()
    assert load_cached(fvd.cache, Reference.load(kept).about) is None


def test_a_reference_is_of_one_protocol_one_network_and_one_set(
    job: Scoring, i3d: Path, tmp_path: Path
) -> None:
    protocol = PROTOCOL.with_changes(["metrics=fvd", "count=2"])
    fvd = dataclasses.replace(job, protocol=protocol, weights=Weights(i3d=i3d))
    score(fvd)
    score(dataclasses.replace(fvd, protocol=protocol.with_changes(["seed=1"])))
    assert len(list(fvd.cache.glob("*.safetensors"))) == 2
    other = write_i3d(tmp_path / "other.pt", seed=1)
    score(dataclasses.replace(fvd, weights=Weights(i3d=other)))
    assert len(list(fvd.cache.glob("*.safetensors"))) == 3
    changed = shutil.copytree(fvd.real, tmp_path / "changed")
    for path in changed.rglob("v_Archery_g01_c01.avi"):
        path.write_bytes(path.read_bytes() + b"\0")
    score(dataclasses.replace(fvd, real=changed))
    assert len(list(fvd.cache.glob("*.safetensors"))) == 4


def test_memory_does_not_grow_with_the_number_of_videos(
    job: Scoring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips alive at a time: at most three batches, for 16 videos as for 64."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    real_read = videos_module.read_clip
    peak = 0

    def track(tensor: Tensor) -> Tensor:
        nonlocal peak
        alive.add(tensor.untyped_storage())
        peak = max(peak, len(alive))
        return tensor

    monkeypatch.setattr(videos_module, "read_clip", lambda v, r: track(real_read(v, r)))
    peaks = {}
    for count in (16, 64):
        peak = 0
        fakes = write_fakes(tmp_path / f"n{count}", count)
        protocol = PIXELS.with_changes([f"fake_count={count}"])
        result = score(dataclasses.replace(job, protocol=protocol, fake=fakes, batch_size=4))
        assert result.sets["fake"]["used"] == count
        peaks[count] = peak
    assert max(peaks.values()) <= 3 * 4


def test_videos_of_another_protocol_are_said(job: Scoring) -> None:
    manifest = {"protocol": "tats", "protocol_hash": PRESETS["tats"].hash, "mode": "true-frame"}
    (job.fake / "manifest.json").write_text(json.dumps(manifest))
    result = score(job)
    assert result.mode == "true-frame"
    assert any("generated for protocol tats" in w for w in result.warnings)


def test_early_refusals(job: Scoring, tmp_path: Path) -> None:
    one = dataclasses.replace(job, fake=write_fakes(tmp_path / "one", 1))
    with pytest.raises(UserError, match="at least 2 generated videos"):
        score(one)
    splits = dataclasses.replace(job, protocol=PROTOCOL.with_changes(["splits=10"]))
    with pytest.raises(UserError, match="in 10 splits needs at least as many"):
        score(splits)
    short = dataclasses.replace(job, protocol=PIXELS.with_changes(["frames=16"]))
    with pytest.raises(UserError, match="'video0' has 9 frames and the protocol needs 16"):
        score(short)


def test_captions_reach_clipsim_by_the_protocols_rule(
    job: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evaluation.meters import single

    seen: list[list[str]] = []

    class Clip:
        sha256 = "0"

        def to(self, device: torch.device) -> Clip:
            return self

    class Similarity:
        def __init__(self, clip: Clip) -> None:
            pass

        def update(self, clips: Tensor, captions: Any) -> None:
            seen.extend(list(texts) for texts in captions)

        def result(self) -> Score:
            return Score(0.5, len(seen), sd=0.1)

    monkeypatch.setattr(single, "load_clip", lambda name: Clip())
    monkeypatch.setattr(single, "CLIPSim", Similarity)
    names = [v.name for v in find_videos(job.fake)]
    lines = [f"{name},{word} {name}\n" for name in names for word in ("one", "two")]
    (job.fake / "metadata.csv").write_text("file_name,text\n" + "".join(lines))
    protocol = PROTOCOL.with_changes(["metrics=clipsim"])
    result = score(dataclasses.replace(job, protocol=protocol))
    assert seen == [[f"one {name}"] for name in names]
    assert result.measurements[0].value == 0.5
    seen.clear()
    score(dataclasses.replace(job, protocol=protocol.with_changes(["caption_rule=all"])))
    assert seen == [[f"one {name}", f"two {name}"] for name in names]


def test_the_result_knows_its_prompts_whatever_the_videos_are_called(job: Scoring) -> None:
    def digest(lines: list[str]) -> str | None:
        (job.fake / "metadata.csv").write_text("file_name,text\n" + "\n".join(lines))
        found: str | None = score(job).sets["fake"]["prompts_sha256"]
        return found

    names = [v.name for v in find_videos(job.fake)]
    assert score(job).sets["fake"]["prompts_sha256"] is None
    first = digest([f"{name},caption {n}" for n, name in enumerate(names)])
    assert first is not None and len(first) == 64
    assert digest([f"{name},caption {n}" for n, name in enumerate(reversed(names))]) == first
    assert digest([f"{name},caption {n + 1}" for n, name in enumerate(names)]) != first


def test_the_digest_is_of_the_videos_that_were_scored(job: Scoring) -> None:
    before = score(job).sets["fake"]["sha256"]
    assert score(job).sets["fake"]["sha256"] == before
    picture = job.fake / "video2" / "00003.png"
    shutil.copy(job.fake / "video1" / "00003.png", picture)
    assert score(job).sets["fake"]["sha256"] != before
    assert module.score(job).run["fake"] == str(job.fake)
