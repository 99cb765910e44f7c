"""`python -m evaluation shapes`: a tiny model end to end, an oracle, what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from miniature import write_checkpoint

from evaluation.__main__ import main
from evaluation.shapes import benchmark, distances
from evaluation.shapes.benchmark import DATA_SEED, RESULT, SAMPLES, Benchmark, run
from evaluation.shapes.classifier import load_classifier
from evaluation.shapes.metrics_table import FLAT, METRICS, STILL
from evaluation.shapes.train_classifier import Training, train
from lightning_artv.errors import MissingWeightsError, UserError
from lightning_artv.synthetic.worlds import World, world_at
from lightning_artv.systems.artv.settings import ARTVSampling
from lightning_artv.systems.artv.windows import NextFrame
from lightning_artv.systems.base import Origin, VideoSystem
from lightning_artv.systems.settings import with_settings

torch.set_num_threads(1)
SHORT = {"clips": 2, "long_clips": 0, "settings": {"steps": 1}, "device": "cpu"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of an untrained model and a classifier that has seen next to nothing."""
    root = tmp_path_factory.mktemp("shapes")
    path = root / "classifier.safetensors"
    train(path, Training(worlds=4, heldout=8, steps=2, batch_size=4))
    return {"checkpoint": write_checkpoint(root / "last.ckpt", size=32), "classifier": path}


@pytest.fixture(autouse=True)
def few_real_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    few = distances.real_reference
    monkeypatch.setattr(benchmark, "real_reference", lambda c, beside: few(c, beside, count=8))


class Oracle(VideoSystem):
    """Knows the truth, or goes on showing the first frame."""

    windows = NextFrame
    continues = True

    def __init__(self, knows: bool) -> None:
        super().__init__()
        self.knows = knows
        self.origin = Origin((32, 32))

    @property
    def sampling(self) -> ARTVSampling:
        return ARTVSampling(noise_level=3)

    @property
    def size_multiple(self) -> int:
        return 1

    def loss(self, batch, generators):
        raise NotImplementedError

    def frames(self, request, observer=None) -> Iterator[torch.Tensor]:
        worlds = [world_at(i, DATA_SEED, "heldout") for i in range(8)]
        rows = [self.world_of(first, worlds) for first in request.first_frame]
        for t in range(request.segments[0].frames):
            frames = np.stack([world.render(t if self.knows else 0) for world in rows])
            yield torch.from_numpy(frames).permute(0, 3, 1, 2)

    @staticmethod
    def world_of(first: torch.Tensor, worlds: list[World]) -> World:
        pixels = first.permute(1, 2, 0).numpy()
        return next(world for world in worlds if (world.render(0) == pixels).all())


def test_an_oracle_reaches_the_best_of_every_metric(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = {}
    for knows in (True, False):
        monkeypatch.setattr(benchmark, "load_system", lambda *_, knows=knows, **__: Oracle(knows))
        job = Benchmark(out=tmp_path / str(knows), clips=6, long_clips=2, device="cpu", **files)
        results[knows] = run(job)
    best, still = results[True], results[False]
    assert best["metrics"] == best["truth"]["metrics"]
    assert set(best["metrics"]) == set(METRICS)
    for name, value in best["metrics"].items():
        if "psnr@" in name:
            assert value == 100.0
        elif "@" in name and name != "FVD@128":
            assert value == 1.0
    classifier = load_classifier(files["classifier"])
    worlds = [world_at(i, DATA_SEED, "heldout", 32) for i in range(2)]
    ends = np.stack([world.video(128)[112:] for world in worlds])
    real = benchmark.real_reference(classifier, files["classifier"])
    seen = distances.distances(torch.from_numpy(ends).permute(0, 1, 4, 2, 3), classifier, real)
    assert best["metrics"]["FVD@128"] == seen["FVD"] != best["metrics"]["FVD"]
    assert best["metrics"]["drift_psnr"] == best["metrics"]["drift_background_psnr"] == 0.0
    assert len(best["curves"]["background_psnr"]) == 128
    assert best["curves"]["direction"] == [1.0] * 8
    assert still["metrics"]["direction@16"] == still["metrics"]["speed@128"] == 0.0
    assert still["metrics"]["color@16"] == 1.0
    assert still["metrics"]["psnr@15"] < 30
    assert still["curves"]["psnr"][0] == 100.0
    assert "mask" not in still  # the oracle records nothing
    assert "masks" not in np.load(tmp_path / "False" / SAMPLES, allow_pickle=False)
    assert still["truth"] == best["truth"]
    assert still["baselines"] == best["baselines"]
    repeated = still["baselines"][STILL]
    assert repeated == {name: still[name] for name in ("metrics", "curves")}
    flat = still["baselines"][FLAT]
    assert flat["curves"]["contrast"][0] > 0.01 > max(flat["curves"]["contrast"][1:])


def test_a_tiny_model_end_to_end(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["--clips", "3", "--long-clips", "2", "--long-frames", "32", "--steps", "2"]
    named = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    assert main(["shapes", *named, "--out", str(out), *options, "--device", "cpu"]) == 0
    result = json.loads((out / RESULT).read_text())
    assert str(out / RESULT) in capsys.readouterr().out
    protocol = result["protocol"]
    assert (protocol["clips"], protocol["frames"], protocol["long_clips"]) == (3, 16, 2)
    assert protocol["sampling"]["steps"] == 2
    assert protocol["sampling"]["noise_level"] == 0
    assert set(protocol["classifier"]["accuracy"]) >= {"color", "direction", "shape"}
    assert result["checkpoint"] == {"file": "last.ckpt", "step": None}
    assert set(result["metrics"]) == set(METRICS)
    assert result["metrics"]["psnr@127"] is None
    assert all(len(values) == 3 for values in result["per_clip"].values())
    assert set(METRICS) - set(result["per_clip"]) == {"FVD", "FVD@128", "IS", "KVD"}
    assert result["metrics"]["FVD@128"] is None
    psnrs = result["per_clip"]["psnr@8"]
    assert result["metrics"]["psnr@8"] == pytest.approx(np.mean(psnrs))
    assert {name: len(values) for name, values in result["curves"].items()} == {
        **dict.fromkeys(("psnr", "background_psnr"), 32),
        **dict.fromkeys(("contrast", "sharpness", "saturation", "brightness"), 32),
        **dict.fromkeys(("direction", "speed", "color", "shape", "FVD"), 2),
    }
    assert len(result["mask"]["timesteps"]) == len(result["mask"]["mean"]) == 2
    assert [sum(shares) for shares in result["mask"]["histogram"]] == pytest.approx([1.0, 1.0])
    with np.load(out / SAMPLES, allow_pickle=False) as samples:
        assert samples["generated"].shape == samples["truth"].shape == (2, 32, 32, 32, 3)
        assert samples["generated"].dtype == samples["truth"].dtype == np.uint8
        assert (samples["generated"][:, 0] == samples["truth"][:, 0]).all()
        assert samples["masks"].shape == (2, 2, 32, 32)
        first = world_at(0, DATA_SEED, "heldout")
        assert (samples["truth"][0] == first.video(32)).all()
        assert str(samples["captions"][0]) == first.caption()
        assert len(set(samples["keys"].tolist())) == 2


def test_a_clip_has_the_same_noise_whatever_else_is_made(
    files: dict[str, Path], tmp_path: Path
) -> None:
    few = run(Benchmark(out=tmp_path / "few", **SHORT, **files))
    more = run(
        Benchmark(
            out=tmp_path / "more", **{**SHORT, "clips": 3, "long_clips": 1}, long_frames=32, **files
        )
    )
    for name in ("psnr@1", "psnr@8", "background_psnr@15"):
        assert more["per_clip"][name][:2] == pytest.approx(few["per_clip"][name], abs=1e-3)
    other = run(Benchmark(out=tmp_path / "other", **SHORT, **files, seed=1))
    assert other["per_clip"]["psnr@8"] != few["per_clip"]["psnr@8"]
    again = run(Benchmark(out=tmp_path / "few", **SHORT, **files))
    assert {**again, "seconds": None} == {**few, "seconds": None}


def test_sampling_settings_are_the_checkpoints_unless_named(files: dict[str, Path]) -> None:
    defaults = ARTVSampling(steps=8, noise_level=4)
    job = Benchmark(out=Path("x"), **files)
    assert with_settings(defaults, job.settings) == defaults
    job = dataclasses.replace(job, settings={"guidance.text": 2.0, "noise_level": 0})
    named = with_settings(defaults, job.settings)
    assert (named.noise_level, named.steps, named.guidance.text) == (0, 8, 2.0)
    assert named.guidance.anchor == defaults.guidance.anchor


def test_the_real_side_is_kept_and_made_again_where_it_does_not_fit(
    files: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    classifier = train(path, Training(worlds=4, heldout=4, steps=1, batch_size=4))
    kept = tmp_path / "c.real.safetensors"
    first = distances.real_reference(classifier, path, count=6)
    written = kept.read_bytes()
    assert torch.equal(distances.real_reference(classifier, path, count=6).features, first.features)
    assert kept.read_bytes() == written
    assert len(distances.real_reference(classifier, path, count=5).features) == 5
    kept.write_bytes(b"damaged")
    assert len(distances.real_reference(classifier, path, count=6).features) == 6
    other = dataclasses.replace(classifier, sha256="another")
    distances.real_reference(other, path, count=6)
    assert kept.read_bytes() != written


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings": {"noise_level": 551}}, "Noise level 551 was not trained"),
        ({"settings": {"steps": 0}}, "0 steps"),
        ({"checkpoint": Path("nowhere.ckpt")}, "There is no checkpoint 'nowhere.ckpt'"),
    ],
)
def test_a_refused_run_leaves_no_result(
    files: dict[str, Path], tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    (tmp_path / RESULT).write_text("{}")  # of another run
    with pytest.raises(UserError, match=words):
        run(Benchmark(**{"out": tmp_path, **SHORT, **files, **changes}))  # type: ignore[arg-type]
    assert not (tmp_path / RESULT).exists()


def test_what_cannot_be_measured_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    job = Benchmark(out=tmp_path, **files)
    for changes, words in (
        ({"clips": 1, "long_clips": 0}, "at least 2 clips"),
        ({"clips": 8}, "choose 0 to 8, not 24"),
        ({"long_frames": 40}, "multiple of 16 frames"),
        ({"long_frames": 16}, "above 16"),
    ):
        with pytest.raises(UserError, match=words):
            dataclasses.replace(job, **changes)  # type: ignore[arg-type]
    with pytest.raises(MissingWeightsError, match="shapes-classifier"):
        run(dataclasses.replace(job, classifier=tmp_path / "none.safetensors"))
    wide = write_checkpoint(tmp_path / "wide.ckpt", size=64)
    with pytest.raises(UserError, match="32x32 pixels and these have 64x64"):
        run(dataclasses.replace(job, checkpoint=wide, device="cpu"))


def test_the_classifier_is_needed_with_its_json(files: dict[str, Path], tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    shutil.copy(files["classifier"], alone)
    with pytest.raises(MissingWeightsError, match=r"alone\.json"):
        run(Benchmark(out=tmp_path, checkpoint=files["checkpoint"], classifier=alone))
