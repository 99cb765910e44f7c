"""A model is read wherever it is: a checkpoint, or an exported folder of any system's pipeline."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_checkpoints import SMALL, write_checkpoint

import lightning_artv
from lightning_artv import ARTVPipeline, cli, pipelines
from lightning_artv.errors import CorruptWeightsError, UserError
from lightning_artv.pipelines.command import export
from lightning_artv.pipelines.folder import INDEX
from lightning_artv.pipelines.loading import (
    is_exported,
    load_pipeline,
    load_system,
    pipeline_named,
    start_from,
    trained_steps,
)
from lightning_artv.systems.artv.settings import ARTVSampling


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "last.ckpt", SMALL)


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    return export(checkpoint, checkpoint.parent.parent / "exported")


def test_a_training_starts_from_a_folder_as_from_its_checkpoint(
    checkpoint: Path, exported: Path
) -> None:
    started = []
    for path in (checkpoint, exported):
        system = lightning_artv.load_system(checkpoint)
        for parameter in system.parameters():
            torch.nn.init.constant_(parameter, 7.0)
        said = start_from(system, path)
        number = len(system.trainable_parameters())
        assert said == f"Starting from {number} of {number} weights of {path}."
        started.append(system.trainable_parameters())
    assert all(torch.equal(started[0][name], started[1][name]) for name in started[0])
    assert not any((parameter == 7).all() for parameter in started[0].values())


def test_a_checkpoint_and_its_folder_are_one_system(checkpoint: Path, exported: Path) -> None:
    ours, theirs = (lightning_artv.load_system(path) for path in (checkpoint, exported))
    assert isinstance(ours.sampling, ARTVSampling)
    assert theirs.sampling == replace(ours.sampling, set_alpha_to_one=False)  # what None means
    assert not theirs.training
    assert (ours.origin.size, ours.origin.fps) == (theirs.origin.size, theirs.origin.fps)
    mine, others = ours.state_dict(), theirs.state_dict()
    shared = mine.keys() & others.keys()
    assert len(shared) > 0.9 * len(mine)
    assert all(torch.equal(mine[name], others[name]) for name in shared)
    assert trained_steps(checkpoint) == trained_steps(exported) is not None


def test_which_folders_are_read_as_exported(checkpoint: Path, exported: Path) -> None:
    assert is_exported(exported) and not is_exported(checkpoint)
    assert not is_exported(checkpoint.parent)  # a run's folder, whose checkpoint is to be named
    with pytest.raises(UserError, match=r"name one, such as '.*last\.ckpt'"):
        load_system(checkpoint.parent)
    with pytest.raises(UserError, match="--weights was chosen"):
        load_system(exported, "raw")


def test_an_exported_folder_is_exported_again(exported: Path, tmp_path: Path) -> None:
    arguments = ["export", "--checkpoint", str(exported), "--output", str(tmp_path / "again")]
    assert cli.main(arguments) == 0
    names = [path.relative_to(exported) for path in exported.rglob("*.safetensors")]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (exported / name).read_bytes(), name
    before, after = (json.loads((f / INDEX).read_text()) for f in (exported, tmp_path / "again"))
    assert {**after, "_name_or_path": None} == {**before, "_name_or_path": None}
    card = (exported / "README.md").read_text().replace("exported", "again", 2)
    again = (tmp_path / "again/README.md").read_text()
    words = [sorted(re.findall(r"\w+", text)) for text in (card, again)]
    assert words[0] == words[1]  # only the settings' order is another


def test_another_systems_pipeline_is_found_in_its_own_folder(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new system's export is read without a line in shared code."""
    package = tmp_path / "pipelines/planted"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from lightning_artv.pipelines.artv import ARTVPipeline\n"
        "class PlantedPipeline(ARTVPipeline):\n    pass\n"
    )
    monkeypatch.setattr(pipelines, "__path__", [*pipelines.__path__, str(package.parent)])
    kind = pipeline_named("PlantedPipeline", exported)
    assert kind.__module__ == "lightning_artv.pipelines.planted"
    kind.from_pretrained(exported).save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / INDEX).read_text())["_class_name"] == kind.__name__
    assert type(load_pipeline(tmp_path / "saved")) is kind
    with pytest.raises(CorruptWeightsError, match="not an ARTVPipeline"):
        ARTVPipeline.from_pretrained(tmp_path / "saved")
    sys.modules.pop("lightning_artv.pipelines.planted")


@pytest.mark.parametrize("name", ["DiffusionPipeline", "StoredPipelin", "os", None, "__name__"])
def test_a_pipeline_of_no_system_is_a_sentence(name: object, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"_class_name": name}))
    with pytest.raises(
        CorruptWeightsError, match=f"describes a {name}, which is the pipeline of no"
    ):
        load_system(tmp_path)
