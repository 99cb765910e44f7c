"""What cannot be done ends in one sentence; the newest checkpoint stays whole and is named."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from small_disk import mounted
from stub_runs import StubRun, stub_data  # noqa: F401
from stub_system import StubData, make_batch
from torch.utils.data import DataLoader, IterableDataset

from lightning_artv import cli
from lightning_artv.batch import VideoBatch
from lightning_artv.checkpoints import replacing
from lightning_artv.checkpoints import sharded as sharded_checkpoint
from lightning_artv.checkpoints.file import read_checkpoint
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import writing_to
from lightning_artv.training.config_errors import refusal
from lightning_artv.training.module import VideoModule

pytestmark = [pytest.mark.usefixtures("stub_data"), pytest.mark.filterwarnings("ignore")]

SAVER = {"every_n_train_steps": 2, "filename": "demo"}


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """The only thing on stderr that is an error."""
    text = capsys.readouterr().err
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and text.strip().splitlines()[-1] == lines[0], text
    return lines[0]


@pytest.fixture(params=["tmpfs", "injected"])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system that `fill` fills, or what stands for one."""
    if request.param == "injected":
        (tmp_path / "disk").mkdir()
        yield tmp_path / "disk"
        return
    with mounted(tmp_path / "disk", "size=2m") as folder:
        yield folder


def fill(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the disk is full."""
    if not os.path.ismount(folder):
        monkeypatch.setattr(os, "fsync", no_space)
        return
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_newest_checkpoint_whole_and_names_it(
    full: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = StubRun(full / "run", SAVER, max_steps=3)
    assert run.fit() == 0
    before = run.last.read_bytes()
    fill(full, monkeypatch)
    capsys.readouterr()
    more = ["fit", "--config", str(run.folder / "stub.yaml"), "--trainer.max_steps=9"]
    assert cli.main([*more, "--ckpt_path=last"]) == 2
    message = sentence(capsys)
    assert "isk is full" in message or "demo.ckpt: No space left on device" in message
    assert "free some space" in message
    assert f"the newest whole checkpoint is {run.last}, of step 3." in message
    assert run.last.read_bytes() == before and run.steps() == {"demo.ckpt": 2, "last.ckpt": 3}
    assert not [p for p in run.checkpoints.iterdir() if p.name.startswith(".")]


def test_a_disk_that_fills_while_a_checkpoint_is_saved(
    full: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, step = StubRun(full / "run", SAVER, max_steps=9), VideoModule.on_train_batch_start

    def filling(self: VideoModule, *arguments: Any) -> None:
        step(self, *arguments)
        if self.global_step == 3:
            fill(full, monkeypatch)

    monkeypatch.setattr(VideoModule, "on_train_batch_start", filling)
    assert run.fit() == 2
    message = sentence(capsys)
    assert f"{run.checkpoints / 'demo.ckpt'}: No space left on device; free some" in message
    assert f"the newest whole checkpoint is {run.last}, of step 2." in message
    assert run.steps() == {"demo.ckpt": 2, "last.ckpt": 2}


def test_a_full_disk_and_a_sharded_checkpoint(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = full / "a.ckpt"
    sharded_checkpoint.write({"state_dict": {"x": torch.ones(1000)}, "step": 1}, path)
    fill(full, monkeypatch)
    with pytest.raises(UserError, match=r"a\.ckpt: No space left on device; free some space"):
        sharded_checkpoint.write({"state_dict": {"x": torch.zeros(1000)}, "step": 2}, path)
    assert sharded_checkpoint.read(path)["step"] == 1
    assert {p.name for p in full.iterdir()} <= {"a.ckpt", "filler"}


def test_a_full_disk_and_consolidate(
    full: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sharded_checkpoint.write({"state_dict": {"x": torch.ones(1000)}}, tmp_path / "a.ckpt")
    fill(full, monkeypatch)
    options = ["--checkpoint", str(tmp_path / "a.ckpt"), "--output", str(full / "b.ckpt")]
    assert cli.main(["consolidate", *options]) == 2
    assert "b.ckpt: No space left on device; free some space" in sentence(capsys)
    assert not (full / "b.ckpt").exists()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that root cannot write to either."""
    with mounted(tmp_path / "read_only", "ro,size=1m") as folder:
        yield folder


@pytest.mark.parametrize("what", ["checkpoints", "logs", "root"])
def test_a_read_only_folder_in_fit(
    what: str, read_only: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = StubRun(tmp_path / "run", SAVER, max_steps=3)
    trainer = run.config["trainer"]
    if what == "checkpoints":
        trainer["callbacks"][1]["init_args"]["dirpath"] = str(read_only / "c")
    elif what == "root":
        trainer["default_root_dir"] = str(read_only)
    else:
        trainer["logger"] = {
            "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
            "init_args": {"save_dir": str(read_only / "tensorboard")},
        }
    assert run.fit() == 2
    message = sentence(capsys)
    assert str(read_only) in message
    assert "Read-only file system" in message or "not writable" in message
    assert "free some space" not in message


def test_a_forbidden_folder_in_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root may write everywhere, so that the refusal is injected."""
    run, make = StubRun(tmp_path / "run", SAVER, max_steps=3), Path.mkdir

    def forbidden(self: Path, *arguments: Any, **options: Any) -> None:
        if self.name == "checkpoints":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        make(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", forbidden)
    assert run.fit() == 2
    message = sentence(capsys)
    assert "Permission denied" in message and str(run.checkpoints) in message


class _Endless(IterableDataset[VideoBatch]):
    def __iter__(self) -> Iterator[VideoBatch]:
        while True:
            yield make_batch()


REFUSED = {
    "--trainer.val_check_interval=0.5": "val_check_interval",
    "--trainer.val_check_interval=0": "trainer.val_check_interval must be above 0",
    "--trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches must be at least 1",
    "--trainer.check_val_every_n_epoch=0": "trainer.check_val_every_n_epoch must be at least 1",
    "--trainer.gradient_clip_val=-1": "trainer.gradient_clip_val must be at least 0",
    "--trainer.accelerator=foo": "accelerator='foo'",
    "--trainer.strategy=foo": "strategy='foo'",
    "--trainer.devices=0": "devices=",
    "--trainer.max_steps=-5": "max_steps",
    "--trainer.max_time=abc": "duration='abc'",
    "--trainer.limit_train_batches=1.5": "limit_train_batches",
    "--trainer.limit_train_batches=0.5": "limit_train_batches",
    "--trainer.num_nodes=0": "num_nodes",
    "--trainer.profiler=foo": "profiler",
    "--ckpt_path=best": "ModelCheckpoint",
    "--ckpt_path=hpc": "hpc",
    "--model.lr=-1": "model.lr -1.0 must not be negative",
    "--model.betas=[0.9,1.0]": "model.betas",
    "--model.weight_decay=-1": "model.weight_decay",
}


@pytest.mark.parametrize("option", REFUSED)
def test_what_lightning_refuses_is_one_sentence(
    option: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    endless = lambda self: DataLoader(_Endless(), batch_size=None)  # noqa: E731
    monkeypatch.setattr(StubData, "train_dataloader", endless)
    assert StubRun(tmp_path / "run", SAVER, max_steps=3).fit(option) == 2
    assert REFUSED[option] in sentence(capsys)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"save_top_k": -5}, "save_top_k=-5"),
        ({"every_n_train_steps": 1, "every_n_epochs": 1}, "mutually exclusive"),
        ({"monitor": "nope", "save_top_k": 2}, "'nope'"),
    ],
)
def test_what_a_callback_refuses_is_one_sentence(
    options: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert StubRun(tmp_path / "run", options, max_steps=7).fit() == 2
    message = sentence(capsys)
    assert words in message and "Union" not in message


def test_a_fault_of_the_program_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*_: Any) -> None:
        raise ValueError("a fault")

    monkeypatch.setattr("stub_system.StubSystem.loss", faulty)
    with pytest.raises(ValueError, match="a fault"):
        StubRun(tmp_path / "run", SAVER, max_steps=3).fit()
    try:
        int("x")
    except ValueError as error:
        assert refusal(error) is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SafetensorError("I/O error: No space left on device (os error 28)"), "free some space"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system; choose another"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied; choose another"),
    ],
)
def test_every_librarys_refusal_to_write_is_known(error: Exception, words: str) -> None:
    with pytest.raises(UserError, match=words), writing_to("a.bin"):
        raise error
    with pytest.raises(UserError, match=words), writing_to("a.bin"):  # as torch.save does it
        try:
            raise error
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos")
    for other in (RuntimeError("unexpected"), KeyboardInterrupt(), UserError("mine")):
        with pytest.raises(type(other)), writing_to("a.bin"):
            raise other


def test_a_file_is_flushed_before_it_counts(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        replacing.save_file({"state_dict": {}}, tmp_path / "a")
    monkeypatch.undo()
    replacing.save_file({"state_dict": {}}, tmp_path / "a")
    assert read_checkpoint(tmp_path / "a") == {"state_dict": {}}


@pytest.mark.parametrize(
    "text",
    [
        "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:48026",
        "[gloo/transport/tcp/pair.cc:525] Read error [::1]:1: Connection reset by peer",
        "NCCL error: ncclRemoteError: a remote process exited or there was a network error",
    ],
)
def test_the_end_of_another_process_is_one_sentence(text: str) -> None:
    assert "Another process of this run has ended" in str(refusal(RuntimeError(text)))


def test_an_exported_folder_is_told_who_reads_it(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").touch()
    with pytest.raises(UserError, match=r"it was exported, which generation, evaluation and "):
        read_checkpoint(tmp_path)


def test_a_folder_with_checkpoints_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder, but no sharded checkpoint: give one of"):
        read_checkpoint(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(UserError, match=r"name one, such as '.*/checkpoints/last\.ckpt'\.$"):
        read_checkpoint(tmp_path)
