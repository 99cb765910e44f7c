"""Checkpoints: whole under their name or not there; within a step as of its start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from stub_system import StubSystem, loader

from lightning_artv.checkpoints.replacing import recover
from lightning_artv.errors import UserError
from lightning_artv.training.atomic_io import AtomicCheckpointIO
from lightning_artv.training.callbacks import LossByTimestep
from lightning_artv.training.module import VideoModule


def test_a_checkpoint_is_written_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": torch.ones(3)}, path)
    AtomicCheckpointIO().save_checkpoint({"x": torch.zeros(3)}, path)
    assert torch.equal(torch.load(path, weights_only=True)["x"], torch.zeros(3))
    assert [p.name for p in path.parent.iterdir()] == ["a.ckpt"]


def test_what_is_interrupted_while_writing_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": 1}, path)
    before, save, seen = path.read_bytes(), torch.save, list[str]()

    def half(checkpoint: Any, file: Any) -> None:
        save(checkpoint, file)
        file.flush()
        seen.extend(p.name for p in tmp_path.iterdir())
        file.truncate(file.tell() // 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        AtomicCheckpointIO().save_checkpoint({"x": 2}, path)
    assert sorted(seen) == [f".a.ckpt.{os.getpid()}.part", "a.ckpt"]  # on the same file system
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


def test_the_bytes_are_on_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, os.replace

    def synced(handle: int) -> None:
        steps.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def renamed(source: Any, target: Any) -> None:
        steps.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    AtomicCheckpointIO().save_checkpoint({"x": 1}, tmp_path / "a.ckpt")
    if Path("/proc/self/fd").exists():
        assert steps == ["file", "rename", "folder"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.ckpt.12.part", ".b.ckpt.12.part", "a.ckpt.part"):
        (tmp_path / name).write_text("half")
    AtomicCheckpointIO().save_checkpoint({"x": 1}, tmp_path / "a.ckpt")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".b.ckpt.12.part",
        "a.ckpt",
        "a.ckpt.part",
    ]


def test_remote_paths_are_refused() -> None:
    with pytest.raises(UserError, match="local folders only"):
        AtomicCheckpointIO().save_checkpoint({}, "s3://bucket/a.ckpt")


class SaveAt(Callback):
    """Saves after a micro-batch of the run, counted from 0."""

    def __init__(self, index: int, path: Path) -> None:
        self.index, self.path = index, path

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx == self.index:
            trainer.save_checkpoint(self.path)


class Logged(Callback):
    """At which of the loggers' steps each optimiser step is logged."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def on_before_backward(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        stepped = trainer.fit_loop.epoch_loop._batches_that_stepped
        self.seen.append((trainer.global_step, stepped))


class Drawing(Callback):
    """Something else that uses torch's generator, as sample logging may."""

    def on_train_batch_end(self, *_: Any) -> None:
        torch.rand(3)


def run(
    tmp_path: Path, save: Callback | None = None, resume: Path | None = None
) -> tuple[Any, ...]:
    torch.manual_seed(0)
    system = StubSystem()
    system.net.append(torch.nn.Dropout(0.5))  # draws from torch's global generator
    model, logged, losses = VideoModule(system, lr=1e-2), Logged(), LossByTimestep()
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        max_epochs=1,
        accumulate_grad_batches=3,
        callbacks=[logged, losses, *([save] if save else [])],
    )
    trainer.fit(model, loader(9), ckpt_path=resume, weights_only=True)
    return model.system.net[0].weight.detach(), logged.seen, losses, trainer


@pytest.mark.parametrize("index", [3, 4, 5])
def test_a_checkpoint_within_a_step_resumes_at_its_start(tmp_path: Path, index: int) -> None:
    """Steps end with micro-batches 2, 5 and 8. The loader here knows no position: it starts over,
    which the stub's noise, a hash of step and key, shows as other weights; so only the counts are
    compared.
    """
    _, whole, _, _ = run(tmp_path)
    run(tmp_path, SaveAt(index, tmp_path / "a.ckpt"))
    stored = torch.load(tmp_path / "a.ckpt", weights_only=True)
    boundary = 6 if index == 5 else 3
    progress = stored["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    assert progress["current"]["ready"] == progress["total"]["ready"] == boundary
    assert stored["global_step"] == boundary // 3
    _, resumed, _, trainer = run(tmp_path, resume=tmp_path / "a.ckpt")
    assert resumed[: 9 - boundary] == whole[boundary:]
    assert trainer.global_step == 3


def test_dropout_is_a_function_of_seed_and_step(tmp_path: Path) -> None:
    one, _, losses, _ = run(tmp_path)
    two, _, _, _ = run(tmp_path, Drawing())
    assert torch.equal(one, two)
    other = LossByTimestep()
    other.load_state_dict(losses.state_dict())
    assert len(other._outputs) == 9


@pytest.mark.parametrize("killed_before", ["the first rename", "the second", "the clean-up"])
def test_a_folder_that_was_being_replaced_has_its_name_again(
    tmp_path: Path, killed_before: str
) -> None:
    """`last.ckpt` holds "old"; a write of "new" stops at each point of the replacement."""
    path, aside = tmp_path / "last.ckpt", tmp_path / ".last.ckpt.old"
    kept = aside if killed_before == "the second" else path
    kept.mkdir()
    (kept / "meta.ckpt").write_text("new" if killed_before == "the clean-up" else "old")
    if killed_before == "the clean-up":
        aside.mkdir()
    recover(tmp_path)
    recover(tmp_path)  # as another rank
    assert (path / "meta.ckpt").read_text() == ("new" if killed_before == "the clean-up" else "old")
