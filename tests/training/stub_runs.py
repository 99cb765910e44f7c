"""`lightning fit` of the stub system in a folder of its own, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_artv import cli
from lightning_artv.checkpoints.file import read_checkpoint
from lightning_artv.training import command


class StubRun:
    """One run's configuration and folder.

    Args:
        folder: where everything goes.
        saver: options of the callback that saves.
        kind: its class.
        trainer: options of the trainer.
        batches: batches of an epoch.
    """

    def __init__(
        self,
        folder: Path,
        saver: dict[str, Any] | None = None,
        kind: str = "lightning_artv.training.saving.RunCheckpoint",
        batches: int = 6,
        **trainer: Any,
    ) -> None:
        self.folder = folder
        self.config = {
            "data": {"batches": batches},
            "model": {"lr": 1e-3, "system": {"class_path": "stub_system.StubSystem"}},
            "trainer": {
                "accelerator": "cpu",
                "default_root_dir": str(folder),
                "num_sanity_val_steps": 0,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "logger": False,
                "callbacks": [
                    {"class_path": "lightning_artv.training.ema.EMA", "init_args": {"decay": 0.9}},
                    {
                        "class_path": kind,
                        "init_args": {"dirpath": str(folder / "checkpoints"), **(saver or {})},
                    },
                ],
                **trainer,
            },
        }

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.ckpt"

    def fit(self, *options: str) -> int:
        """The exit code."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "stub.yaml"
        path.write_text(yaml.safe_dump(self.config))
        return cli.main(["fit", "--config", str(path), *options])

    def steps(self) -> dict[str, int]:
        """File -> the optimiser steps in it."""
        files = [path for path in self.checkpoints.iterdir() if path.suffix == ".ckpt"]
        return {path.name: read_checkpoint(path)["global_step"] for path in files}


@pytest.fixture
def stub_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line trains on the stub's batches."""
    from stub_system import StubData

    monkeypatch.setattr(command, "VideoDataModule", StubData)
