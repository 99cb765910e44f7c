"""The worlds' classifier: its symmetry, its file, and the numbers that look through it."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch

from evaluation.__main__ import main
from evaluation.shapes import commands, train_classifier
from evaluation.shapes.classifier import (
    FEATURES,
    WORDS,
    Classifier,
    WorldClassifier,
    about_path,
    load_classifier,
    look,
)
from evaluation.shapes.distances import distances
from evaluation.shapes.train_classifier import Training, train, videos_of
from evaluation.statistics import Gaussian, Reference
from lightning_artv.errors import CorruptWeightsError, MissingWeightsError, UserError
from lightning_artv.synthetic.worlds import world_at

torch.set_num_threads(1)
TINY = Training(worlds=6, heldout=8, steps=2, batch_size=4)


@pytest.fixture(scope="module")
def network() -> WorldClassifier:
    torch.manual_seed(0)
    return WorldClassifier().eval()


@pytest.fixture(scope="module")
def videos() -> torch.Tensor:
    return videos_of(24, seed=9, split="train", size=32, frames=16)[0]


def test_videos_are_the_worlds(videos: torch.Tensor) -> None:
    assert videos.shape == (24, 16, 3, 32, 32) and videos.dtype == torch.uint8
    expected = torch.from_numpy(world_at(5, 9, "train").render(11)).permute(2, 0, 1)
    assert torch.equal(videos[5, 11], expected)


def test_features_do_not_depend_on_where_the_torus_is_cut(
    network: WorldClassifier, videos: torch.Tensor
) -> None:
    with torch.no_grad():
        plain = network.features(videos[:4])
        moved = network.features(videos[:4].roll((8, 16), dims=(-2, -1)))
        backwards = network.features(videos[:4].flip(1))
    assert plain.shape == (4, FEATURES) and float(plain.min()) >= 0
    assert torch.allclose(plain, moved, atol=1e-5)
    assert not torch.allclose(plain, backwards, atol=1e-5)


def test_every_frame_and_pixel_counts(network: WorldClassifier, videos: torch.Tensor) -> None:
    with torch.no_grad():
        plain = network.features(videos[:1])
        for t in range(16):
            changed = videos[:1].clone()
            changed[:, t] = 255 - changed[:, t]
            assert not torch.allclose(network.features(changed), plain, atol=1e-6), t


def test_the_joint_of_colour_and_direction_is_a_distribution(
    network: WorldClassifier, videos: torch.Tensor
) -> None:
    looks = look(network, videos)
    logits = network.logits(looks.features)
    assert looks.probabilities.shape == (24, 24)
    assert torch.allclose(looks.probabilities.sum(dim=1), torch.ones(24), atol=1e-5)
    colors = looks.probabilities.reshape(24, 6, 4).sum(dim=2)
    assert torch.allclose(colors, logits["color"].softmax(dim=1), atol=1e-5)
    assert torch.equal(looks.words["pan"], logits["pan"].argmax(dim=1))
    assert not looks.features.requires_grad
    with pytest.raises(ValueError, match=r"uint8 \[N, T, 3, H, W\]"):
        look(network, videos.float())


def test_batches_change_nothing(network: WorldClassifier, videos: torch.Tensor) -> None:
    many = videos.repeat(3, 1, 1, 1, 1)  # more than pass at once
    features = look(network, many).features
    assert torch.allclose(features[:24], look(network, videos).features, atol=1e-5)
    assert torch.allclose(features[48:], features[:24], atol=1e-5)


def test_training_learns_and_repeats(tmp_path: Path) -> None:
    settings = Training(worlds=64, heldout=64, steps=60, batch_size=16, lr=5e-3)
    one = train(tmp_path / "a.safetensors", settings)
    assert one.accuracy["color"] > 0.33  # by chance 0.17
    assert set(one.accuracy) == set(WORDS)
    again = train(tmp_path / "b.safetensors", TINY)
    same = train(tmp_path / "c.safetensors", TINY)
    other = train(tmp_path / "d.safetensors", Training(**{**vars(TINY), "seed": 1}))
    assert again.sha256 == same.sha256 != other.sha256
    assert not one.network.training


def test_a_finished_classifier_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.safetensors"
    first = train(path, TINY)
    about = json.loads(about_path(path).read_text())
    assert about["settings"] == vars(TINY)
    assert about["sha256"] == first.sha256
    counted = []
    trained = train_classifier._trained
    monkeypatch.setattr(train_classifier, "_trained", lambda *a: counted.append(1) or trained(*a))
    assert train(path, TINY).sha256 == first.sha256
    assert not counted
    train(path, Training(**{**vars(TINY), "seed": 1}))
    assert len(counted) == 1
    path.unlink()  # as a kill between the json and the weights leaves it
    train(path, Training(**{**vars(TINY), "seed": 1}))
    assert len(counted) == 2
    assert list(tmp_path.iterdir()) == [p for p in tmp_path.iterdir() if p.stem == "c"]


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(MissingWeightsError, match="shapes-classifier --out"):
        load_classifier(path)
    train(path, TINY)
    whole, about = path.read_bytes(), about_path(path).read_text()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CorruptWeightsError, match=r"not the file that 'c\.json' describes"):
        load_classifier(path)
    path.write_bytes(whole)
    for text, words in (
        ("{", "damaged"),
        ("[]", "damaged"),
        (about.replace('"format": 1', '"format": 0'), "another version"),
    ):
        about_path(path).write_text(text)
        with pytest.raises(CorruptWeightsError, match=words):
            load_classifier(path)
    about_path(path).write_text(about)
    with pytest.raises(UserError, match="shapes-classifier --size 64"):
        load_classifier(path).check_size(64)


def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in \.safetensors"):
        train(tmp_path / "c.pt", TINY)
    with pytest.raises(UserError, match="steps must be above 0"):
        Training(steps=0)
    with pytest.raises(UserError, match="multiple of 32"):
        train(tmp_path / "c.safetensors", Training(**{**vars(TINY), "size": 40}))


def test_the_command_prints_the_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "Training", functools.partial(Training, heldout=4))
    path = tmp_path / "c.safetensors"
    options = ["--worlds", "4", "--steps", "1", "--device", "cpu"]
    assert main(["shapes-classifier", "--out", str(path), *options]) == 0
    printed = capsys.readouterr()
    assert all(name in printed.out for name in WORDS)
    assert str(path) in printed.out
    assert "texture" in printed.err and "train longer" in printed.err


def test_distances_are_the_statistics_of_the_features(
    network: WorldClassifier, videos: torch.Tensor
) -> None:
    classifier = Classifier(network, 32, 16, "sha", {})
    features = look(network, videos).features
    real = Reference(Gaussian.of(features), features)
    same = distances(videos, classifier, real)
    assert same["FVD"] == pytest.approx(0.0, abs=1e-6)
    assert distances(videos.flip(0), classifier, real)["IS"] == pytest.approx(same["IS"])
    assert 1.0 <= same["IS"] <= 24.0
    noise = torch.randint(0, 256, videos.shape, dtype=torch.uint8)
    worse = distances(noise, classifier, real)
    assert worse["FVD"] > same["FVD"] + 1e-3
    assert worse["KVD"] > same["KVD"]


def test_a_loaded_classifier_sees_as_it_was_trained(tmp_path: Path, videos: torch.Tensor) -> None:
    path = tmp_path / "c.safetensors"
    made = train(path, Training(**{**vars(TINY), "brightness": 2.0}))
    loaded = load_classifier(path)
    assert loaded.network.brightness == 2.0
    features = look(loaded.network, videos).features
    assert torch.equal(features, look(made.network, videos).features)
    loaded.network.brightness = 3.0
    assert not torch.allclose(look(loaded.network, videos).features, features, atol=1e-5)
