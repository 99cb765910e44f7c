"""`last.ckpt` is the newest in every way of saving, and no run mixes its files with another's."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Timer
from stub_runs import StubRun, stub_data  # noqa: F401
from stub_system import StubSystem

from lightning_artv.checkpoints.file import read_checkpoint
from lightning_artv.checkpoints.replacing import link, recover, replace
from lightning_artv.errors import UserError
from lightning_artv.training import run_folder, saving
from lightning_artv.training.atomic_io import AtomicCheckpointIO

pytestmark = [pytest.mark.usefixtures("stub_data"), pytest.mark.filterwarnings("ignore")]

OURS = "lightning_artv.training.saving.RunCheckpoint"
LIGHTNING = "lightning.pytorch.callbacks.ModelCheckpoint"
VALIDATED = {"val_check_interval": 3, "check_val_every_n_epoch": None}

# options of the saver, options of the trainer, the step in last.ckpt
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "steps": ({"every_n_train_steps": 2}, {"max_steps": 7}, 7),
    "steps, the last one": ({"every_n_train_steps": 2}, {"max_steps": 8}, 8),
    "no save before the end": ({"every_n_train_steps": 100}, {"max_steps": 5}, 5),
    "epochs": ({"every_n_epochs": 1}, {"max_epochs": 2}, 12),
    "every second epoch": ({"every_n_epochs": 2}, {"max_epochs": 3}, 18),
    "validation": ({"monitor": "val/loss"}, {"max_steps": 8, **VALIDATED}, 8),
    "validation, all kept": (
        {"monitor": "val/loss", "save_top_k": -1, "filename": "{step}"},
        {"max_steps": 8, **VALIDATED},
        8,
    ),
    "time": (
        {"train_time_interval": "0:00:00"},
        {"max_steps": 7, "accumulate_grad_batches": 2, "max_epochs": -1},
        7,
    ),
    "micro-batches": (
        {"every_n_train_steps": 2},
        {"max_steps": 5, "accumulate_grad_batches": 2, "max_epochs": -1},
        5,
    ),
    "nothing kept but the last": ({"every_n_train_steps": 2, "save_top_k": 0}, {"max_steps": 5}, 5),
    "a link": ({"every_n_train_steps": 2, "save_last": "link"}, {"max_steps": 5}, 5),
}


@pytest.mark.parametrize("way", WAYS)
def test_last_is_the_newest_in_every_way_of_saving(way: str, tmp_path: Path) -> None:
    saver, trainer, step = WAYS[way]
    run = StubRun(tmp_path / "run", saver, **{"limit_val_batches": 1, **trainer})
    assert run.fit() == 0
    steps = run.steps()
    assert steps["last.ckpt"] == max(steps.values()) == step, steps
    assert not [name for name in steps if "-v" in name]
    assert not [path for path in run.checkpoints.iterdir() if path.suffix != ".ckpt"]


def test_a_time_limit_saves_the_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock goes on by 10 s a micro-batch; the limit ends the run within a step."""
    loss, seen = StubSystem.loss, list[int]()

    def counted(self: StubSystem, *arguments: Any) -> Any:
        seen.append(1)
        return loss(self, *arguments)

    monkeypatch.setattr(StubSystem, "loss", counted)
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: 10.0 * len(seen))
    options = {"max_time": "00:00:01:05", "accumulate_grad_batches": 2, "limit_val_batches": 0}
    run = StubRun(tmp_path / "run", {"every_n_train_steps": 2}, max_epochs=-1, **options)
    assert run.fit() == 0
    assert len(seen) == 7 and run.steps()["last.ckpt"] == 3


@pytest.mark.parametrize("kind", [OURS, LIGHTNING])
def test_a_moved_or_copied_run_goes_on_in_its_own_files(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saver = {"every_n_train_steps": 2, "filename": "demo", "save_last": True}
    run = StubRun(tmp_path / "run", saver, kind, max_steps=4)
    assert run.fit() == 0
    shutil.copytree(run.folder, tmp_path / "copy")
    run.folder.rename(tmp_path / "moved")
    for name, steps in (("copy", 7), ("moved", 8)):
        other = StubRun(tmp_path / name, saver, kind, max_steps=steps)
        assert other.fit("--ckpt_path", "last") == 0
        assert other.steps() == {"demo.ckpt": steps // 2 * 2, "last.ckpt": steps}
    assert not run.folder.exists()


def test_the_best_of_a_moved_run_stay_known(tmp_path: Path) -> None:
    """Of five validations two checkpoints are kept, over a move in between as well."""
    saver = {"monitor": "val/loss", "save_top_k": 2, "filename": "{step}", "mode": "max"}
    options = {"val_check_interval": 1, "check_val_every_n_epoch": None, "limit_val_batches": 1}
    whole = StubRun(tmp_path / "whole", saver, max_steps=5, **options)
    assert whole.fit() == 0
    assert StubRun(tmp_path / "one", saver, max_steps=3, **options).fit() == 0
    (tmp_path / "one").rename(tmp_path / "two")
    two = StubRun(tmp_path / "two", saver, max_steps=5, **options)
    assert two.fit("--ckpt_path=last") == 0
    assert two.steps() == whole.steps() and len(two.steps()) == 3


def test_best_is_found_by_a_later_command_and_in_a_moved_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    saver = {"monitor": "val/loss", "save_top_k": 1, "filename": "best"}
    run = StubRun(tmp_path / "run", saver, max_steps=6, **VALIDATED)
    assert run.fit() == 0
    best = read_checkpoint(run.last)["callbacks"]
    (path,) = [state["best_model_path"] for state in best.values() if "best_model_path" in state]
    assert Path(path) == run.checkpoints / "best.ckpt"
    assert run_folder.best([run.checkpoints]) == Path(path)
    moved = run.folder.rename(tmp_path / "moved")
    assert run_folder.best([moved / "checkpoints"]) == moved / "checkpoints" / "best.ckpt"
    again = StubRun(moved, saver, max_steps=6, **VALIDATED)
    assert again.fit("--ckpt_path=best") == 0
    assert f"Restored all states from the checkpoint at {moved}/checkpoints/best.ckpt" in (
        caplog.text
    )
    plain = StubRun(tmp_path / "plain", {"every_n_train_steps": 2}, max_steps=4)
    assert plain.fit() == 0
    assert plain.fit("--ckpt_path=best") == 2
    assert "is known as the best: give ModelCheckpoint something to monitor" in (
        capsys.readouterr().err
    )


def test_a_resume_that_saves_at_other_times_keeps_its_files(tmp_path: Path) -> None:
    run = StubRun(tmp_path / "run", {"every_n_train_steps": 2, "filename": "demo"}, max_steps=4)
    assert run.fit() == 0
    other = {"every_n_train_steps": 3, "filename": "demo"}
    assert StubRun(run.folder, other, max_steps=6).fit("--ckpt_path=last") == 0
    assert run.steps() == {"demo.ckpt": 6, "last.ckpt": 6}


@pytest.mark.parametrize("kind", [OURS, LIGHTNING])
def test_a_new_run_in_a_used_folder_is_refused_with_the_two_ways_on(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = StubRun(tmp_path / "run", {"every_n_train_steps": 2}, kind, max_steps=4)
    assert run.fit() == 0
    before = {path: path.read_bytes() for path in run.checkpoints.iterdir()}
    capsys.readouterr()
    assert run.fit() == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "of step 4" in message and str(run.last) in message
    assert "`--ckpt_path last`" in message and "--trainer.default_root_dir" in message
    assert {path: path.read_bytes() for path in run.checkpoints.iterdir()} == before
    assert run.fit("--trainer.fast_dev_run=true") == 0  # it saves nothing


def test_a_signal_after_a_resume_saves_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = StubRun(tmp_path / "run", {"every_n_train_steps": 2}, max_steps=4)
    assert run.fit() == 0
    run.folder.rename(tmp_path / "moved")
    moved = StubRun(tmp_path / "moved", {"every_n_train_steps": 100}, max_steps=100, max_epochs=-1)
    loss, seen = StubSystem.loss, [0]

    def terminated(self: StubSystem, *arguments: Any) -> Any:
        seen[0] += 1
        if seen[0] == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, *arguments)

    monkeypatch.setattr(StubSystem, "loss", terminated)
    with pytest.raises(SystemExit) as stopped:
        moved.fit("--ckpt_path=last")
    assert stopped.value.code == 143
    assert moved.steps()["last.ckpt"] == 7 and "last-v1.ckpt" not in moved.steps()


def test_save_last_false_leaves_none_but_never_an_old_one(tmp_path: Path) -> None:
    saver = {"every_n_train_steps": 2, "save_last": False, "filename": "a"}
    run = StubRun(tmp_path / "run", saver, max_steps=5)
    assert run.fit() == 0
    assert run.steps() == {"a.ckpt": 4}
    assert run.fit("--ckpt_path=last", "--trainer.max_steps=6") == 0  # a.ckpt, then
    assert run.steps() == {"a.ckpt": 6}
    shutil.copy(run.checkpoints / "a.ckpt", run.last)  # as a signal would leave it
    assert run.fit("--ckpt_path=last", "--trainer.max_steps=9") == 0
    assert run.steps() == {"a.ckpt": 8, "last.ckpt": 9}


def saved(path: Path, step: int) -> Path:
    checkpoint = {"state_dict": {"x": torch.ones(1)}, "global_step": step, "optimizer_states": []}
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)
    return path


def test_where_last_goes_on(tmp_path: Path) -> None:
    """By the step, as a copy changes all times; from another file only where none is whole."""
    assert run_folder.last([tmp_path]) is None
    older = saved(tmp_path / "last.ckpt", 5)
    newer = saved(tmp_path / "last-v1.ckpt", 9)  # an older version wrote it
    os.utime(newer, (1, 1))
    assert run_folder.last([tmp_path]) == newer
    newer.unlink()
    other = saved(tmp_path / "step7.ckpt", 7)
    assert run_folder.last([tmp_path]) == older
    older.write_bytes(older.read_bytes()[:-50])
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged: going on from .*step7.*step 7"):
        assert run_folder.last([tmp_path]) == other
    other.write_bytes(b"")
    with pytest.raises(UserError, match=r"No checkpoint in .* is whole"):
        run_folder.last([tmp_path])


def test_a_second_name_costs_no_bytes_and_outlives_the_first(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "a.ckpt", 1), tmp_path / "last.ckpt"
    assert link(one, two) and two.stat().st_ino == one.stat().st_ino
    saved(one, 2)
    assert run_folder.newest([two]) == run_folder.Saved(two, 1, True)
    folder = tmp_path / "sharded.ckpt"
    folder.mkdir()
    (folder / "meta.ckpt").write_text("meta")
    assert link(folder, two)  # of a sharded run, in place of a file
    shutil.rmtree(folder)
    assert (two / "meta.ckpt").read_text() == "meta"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "last.ckpt"]


def test_where_there_are_no_second_names_it_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    run = StubRun(tmp_path / "run", {"every_n_train_steps": 2, "filename": "a"}, max_steps=4)
    assert run.fit() == 0
    assert run.steps() == {"a.ckpt": 4, "last.ckpt": 4}


def test_a_file_that_replaces_a_folder_is_recovered_when_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, temporary = tmp_path / "last.ckpt", tmp_path / ".last.ckpt.1.part"
    path.mkdir()
    (path / "meta.ckpt").write_text("old")
    temporary.write_text("new")
    rename = os.replace

    def killed(source: Any, target: Any) -> None:
        if source == temporary:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        replace(temporary, path)
    monkeypatch.undo()
    recover(tmp_path)
    assert (path / "meta.ckpt").read_text() == "old"
    replace(temporary, path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("last.ckpt", "new")]


def test_state_of_another_folder_names_only_what_is_here(tmp_path: Path) -> None:
    (tmp_path / "b.ckpt").touch()
    state = {
        "dirpath": "/old",
        "best_model_path": "/old/a.ckpt",
        "kth_best_model_path": "/old/a.ckpt",
        "last_model_path": "/elsewhere/b.ckpt",
        "best_k_models": {"/old/a.ckpt": 1.0, "/old/b.ckpt": 2.0},
    }
    moved = saving.moved(state, str(tmp_path))
    assert moved == {
        "dirpath": str(tmp_path),
        "best_model_path": "/old/a.ckpt",
        "kth_best_model_path": "",
        "last_model_path": "",
        "best_k_models": {str(tmp_path / "b.ckpt"): 2.0},
    }
