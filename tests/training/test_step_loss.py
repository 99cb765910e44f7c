"""The loss of a whole optimiser step, and how far a run is, on every kind of limit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers import TensorBoardLogger
from stub_runs import StubRun, stub_data  # noqa: F401
from stub_system import StubSystem, loader
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.tar import ShardWriter
from lightning_artv.progress import Progress
from lightning_artv.training.callbacks import LossByTimestep, ProgressLine, by_quartile
from lightning_artv.training.module import VideoModule

pytestmark = [pytest.mark.usefixtures("stub_data"), pytest.mark.filterwarnings("ignore")]

LINE = "lightning_artv.training.callbacks.ProgressLine"


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Those of all micro-batches, as the system computes them."""
    loss, seen = StubSystem.loss, list[float]()

    def noted(self: StubSystem, *arguments: Any) -> Any:
        output = loss(self, *arguments)
        seen.append(float(output.loss.detach()))
        return output

    monkeypatch.setattr(StubSystem, "loss", noted)
    return seen


def test_shown_and_logged_it_is_the_mean_over_the_micro_batches(
    losses: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight micro-batches in steps of 3, 3 and 2."""
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=3,
        log_every_n_steps=1,
        logger=TensorBoardLogger(tmp_path, name="", version=""),
        callbacks=[ProgressLine()],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(VideoModule(StubSystem(), lr=1e-2), loader(8))
    expected = [np.mean(losses[:3]), np.mean(losses[3:6]), np.mean(losses[6:])]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [e.value for e in events.Scalars("train/loss")] == pytest.approx(expected)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.fullmatch(r"step 3/3, [\d.]+ steps/s, 0:00 left, loss ([\d.]+)", line)
    assert float(line.rsplit(" ", 1)[1]) == pytest.approx(expected[-1], abs=1e-4)


LIMITS = {
    "steps": ({"max_steps": 4}, "step 4/4, "),
    "epochs": ({"max_steps": -1, "max_epochs": 1}, "step 6/6, "),
    "epochs of micro-batches": (
        {"max_steps": -1, "max_epochs": 2, "accumulate_grad_batches": 2},
        "step 6/6, ",
    ),
    "epochs before steps": ({"max_steps": 100, "max_epochs": 2}, "step 12/12, "),
    "steps before epochs": ({"max_steps": 5, "max_epochs": 2}, "step 5/5, "),
    "part of an epoch": ({"max_epochs": 1, "limit_train_batches": 4}, "step 4/4, "),
    "time": ({"max_epochs": -1, "max_time": "00:00:00:45"}, "step 5, "),
    "time before epochs": ({"max_epochs": 9, "max_time": "00:00:00:45"}, "step 5/54, "),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_progress_on_every_kind_of_limit(
    limit: str,
    losses: list[float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options, expected = LIMITS[limit]
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: 10.0 * len(losses))
    run = StubRun(tmp_path / "run", {"save_top_k": 0}, limit_val_batches=0, **options)
    run.config["trainer"]["callbacks"].append({"class_path": LINE})
    assert run.fit() == 0
    line = [x for x in capsys.readouterr().err.splitlines() if x.startswith("step ")][-1]
    assert line.startswith(expected) and ", 0:00 left, loss " in line


def test_a_resumed_run_counts_from_where_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for steps in (4, 6):
        run = StubRun(tmp_path / "run", {"every_n_train_steps": 2}, max_steps=steps)
        run.config["trainer"]["callbacks"].append({"class_path": LINE})
        assert run.fit("--ckpt_path=last") == 0
    assert "step 6/6, " in capsys.readouterr().err


def test_epochs_are_passes_over_an_endless_stream(tmp_path: Path) -> None:
    """Seven clips in batches of two, two batches a step: two passes are 8 batches, 4 steps."""
    with ShardWriter(tmp_path / "shards") as writer:
        for index in range(7):
            clip = np.full((4, 16, 16, 3), 20 * index, dtype=np.uint8)
            writer.write(f"clip{index}", encode_lossless(clip, 8), f"caption {index}", {})
    data = VideoDataModule(str(tmp_path / "shards"), size=16, batch_size=2, num_workers=0)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        accumulate_grad_batches=2,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(VideoModule(StubSystem()), datamodule=data)
    assert trainer.global_step == 4
    assert data.state_dict()["position"]["taken"] == (16,)


def test_progress_of_what_has_no_end_or_a_time_limit(capsys: pytest.CaptureFixture[str]) -> None:
    endless = Progress(None, "step")
    endless.done = 20
    assert endless.line(endless._start + 10) == "step 20, 2.00 steps/s"
    endless.finish()
    assert capsys.readouterr().err.startswith("step 20, ")
    timed = Progress(None, "step", left=lambda: 61.0)
    timed.done = 20
    assert timed.line(timed._start + 10) == "step 20, 2.00 steps/s, 1:01 left"
    both = Progress(100, "step", left=lambda: 61.0)
    both.done = 20
    assert both.line(both._start + 10) == "step 20/100, 2.00 steps/s, 0:40 left"


def test_quartiles_add_up_over_ranks() -> None:
    """The other rank has one sample of value 5 in the first quarter and two in the third."""
    other = torch.tensor([[5.0, 0, 14, 0], [1, 0, 2, 0]])
    values, level = torch.tensor([1.0, 3.0, 8.0]), torch.tensor([0, 0.249, 1.0])
    together = by_quartile("x", values, level, lambda sums: sums + other)
    assert together == {"x_q1": 3.0, "x_q3": 7.0, "x_q4": 8.0}
    assert LossByTimestep(every_n_batches=0).every_n_batches == 1
