"""After a resume, in a moved folder too, TensorBoard's steps and EMA's counter go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from stub_runs import StubRun, stub_data  # noqa: F401
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_artv.checkpoints.file import read_checkpoint

pytestmark = [pytest.mark.usefixtures("stub_data"), pytest.mark.filterwarnings("ignore")]


def run_in(folder: Path) -> StubRun:
    logger = {
        "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
        "init_args": {"save_dir": str(folder), "name": "", "version": ""},
    }
    options = {"limit_val_batches": 0, "log_every_n_steps": 1}
    return StubRun(folder, {"every_n_train_steps": 2}, logger=logger, max_steps=5, **options)


def steps(folder: Path) -> list[int]:
    """The steps of the loss, in the order in which they were written."""
    events = EventAccumulator(str(folder), {"scalars": 0})
    events.Reload()
    return [event.step for event in events.Scalars("train/loss")]


@pytest.mark.parametrize("moved", [False, True])
def test_steps_and_the_averages_counter_go_on(moved: bool, tmp_path: Path) -> None:
    run = run_in(tmp_path / "run")
    assert run.fit() == 0
    before = steps(run.folder)
    assert len(before) == 5
    assert read_checkpoint(run.last)["ema"]["updates"] == 5
    if moved:
        run.folder.rename(tmp_path / "moved")
        run = run_in(tmp_path / "moved")
    assert run.fit("--ckpt_path", "last", "--trainer.max_steps", "9") == 0
    assert steps(run.folder) == [*before, *(before[-1] + more for more in range(1, 5))]
    assert read_checkpoint(run.last)["ema"]["updates"] == 9
