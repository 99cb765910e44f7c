"""Saved pipelines."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_systems import KINDS, make

from lightning_artv import ARTVPipeline


@pytest.fixture(scope="session")
def exported(sd_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A saved pipeline of each kind."""
    folders = {kind: tmp_path_factory.mktemp("exported") / kind for kind in KINDS}
    for kind, folder in folders.items():
        ARTVPipeline.from_system(make(kind, sd_folder)).save_pretrained(folder)
    return folders


@pytest.fixture
def folder(exported: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the small one, to be damaged."""
    return Path(shutil.copytree(exported["small"], tmp_path / "copy"))
