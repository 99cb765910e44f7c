"""A run that is killed, terminated or preempted goes on exactly where it was."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
from forks import SERVER
from waiting import GUARD

from lightning_artv.checkpoints.file import read_checkpoint
from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.tar import ShardWriter
from lightning_artv.synthetic.scenes import scene_at

ROOT = Path(__file__).parents[1]
STEPS = 16
KILLS = int(os.environ.get("RESUME_KILLS", "3"))


def fit(arguments: list[str], log: str) -> None:
    """What a child runs: `lightning fit`, its messages in a file."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 2)
    os.dup2(handle, 1)
    os.environ["PYTHONWARNINGS"] = "ignore"
    multiprocessing.set_start_method("fork", force=True)  # as in a process of its own
    torch.set_num_threads(1)
    from lightning_artv.cli import main

    sys.exit(main(arguments))


class Run:
    """One training run in a folder, started as often as needed."""

    def __init__(self, folder: Path, shards: Path, *options: str, callbacks: str = "") -> None:
        self.folder = folder
        self.losses = folder / "losses"
        self.log = folder / "log.txt"
        folder.mkdir()
        tiny = {
            "model.system.init_args.unet.init_args.channels": "[8, 8]",
            "model.system.init_args.unet.init_args.norm_groups": "4",
            "model.system.init_args.training.streams": "true",  # windows in flight go on too
            "model.system.init_args.training.own_references": "0.6",
            "model.system.init_args.training.first_frame_share": "0.3",
            "data.windows.init_args.targets": "3",
            "data.batch_size": "6",
            "data.num_workers": "2",
            "data.shuffle": "6",
            "data.max_corrupt_share": "0.5",
            "data.train": str(shards),
            "data.val": str(shards),
            "trainer.default_root_dir": str(folder),
            "trainer.accumulate_grad_batches": "3",
            "trainer.max_steps": str(STEPS),
            "trainer.val_check_interval": "21",
            "trainer.limit_val_batches": "1",
            "trainer.deterministic": "true",
            "trainer.callbacks": json.dumps(self._callbacks()),
        }
        self.arguments = ["fit", "--config", str(ROOT / "configs" / "artv" / "demo.yaml")]
        self.arguments += [f"--{key}={value}" for key, value in tiny.items()]
        self.arguments += [*options, "--ckpt_path=last"]

    def _callbacks(self) -> list[dict[str, object]]:
        saver = {"dirpath": str(self.checkpoints), "save_last": True, "every_n_train_steps": 2}
        return [
            {"class_path": "lightning_artv.training.ema.EMA", "init_args": {"decay": 0.9}},
            {"class_path": "loss_log.LossLog", "init_args": {"path": str(self.losses)}},
            {
                "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                "init_args": saver,
            },
        ]

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.ckpt"

    def start(self) -> ForkServerProcess:
        process = SERVER.Process(target=fit, args=(self.arguments, str(self.log)))
        process.start()
        return process

    def finish(self) -> None:
        process = self.start()
        process.join(GUARD)
        process.kill()
        assert process.exitcode == 0, self.log.read_text()

    def lines(self, rank: int = 0) -> list[tuple[tuple[int, int], tuple[str, ...]]]:
        """((step, micro-batch), (loss, keys)) in the order of the run; re-done steps twice."""
        path = Path(f"{self.losses}.{rank}")
        if not path.exists():
            return []
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("]")]
        return [((row[0], row[1]), (row[2], *row[3])) for row in rows]

    def wait(self, process: ForkServerProcess, steps: int) -> None:
        """Until so many micro-batches more are trained on."""
        before, end = len(self.lines()), time.monotonic() + GUARD
        while len(self.lines()) < before + steps:
            assert process.is_alive() and time.monotonic() < end, self.log.read_text()
            time.sleep(0.01)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 videos of which one is corrupt, in shards of 5."""
    folder = tmp_path_factory.mktemp("data") / "shards"
    with ShardWriter(folder, 5) as writer:
        for index in range(13):
            scene = scene_at(index, 3, "train")
            video = b"damaged" if index == 4 else encode_lossless(scene.video(), 8)
            writer.write(f"k{index:02d}", video, scene.caption(), {})
    return folder


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """The callback above is found by the children."""
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{Path(__file__).parent}{os.pathsep}{before}"
    yield
    os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The uninterrupted run."""
    run = Run(tmp_path_factory.mktemp("whole") / "run", shards)
    run.finish()
    return run


def assert_same_end(one: Run, other: Run) -> None:
    """Weights, average, optimiser and data position are equal bit for bit."""
    a, b = read_checkpoint(one.last), read_checkpoint(other.last)
    assert a["global_step"] == b["global_step"] == STEPS
    assert a["VideoDataModule"] == b["VideoDataModule"]
    for name in ("state_dict", "ema", "optimizer_states", "lr_schedulers", "loops", "carried"):
        assert_equal(a[name], b[name], name)


def assert_equal(a: object, b: object, name: str) -> None:
    assert type(a) is type(b), name
    if isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor) and torch.equal(a, b), name
    elif isinstance(a, dict):
        assert isinstance(b, dict) and a.keys() == b.keys(), name
        for key in a:
            assert_equal(a[key], b[key], f"{name}.{key}")
    elif isinstance(a, list | tuple):
        assert isinstance(b, list | tuple) and len(a) == len(b), name
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{name}.{index}")
    else:
        assert a == b, (name, a, b)


def test_the_uninterrupted_run_sees_each_sample_once_a_pass(whole: Run) -> None:
    keys = [key for _, (_, *keys) in whole.lines() for key in keys]
    assert len(keys) == STEPS * 3 * 2
    usable = sorted(f"k{i:02d}" for i in range(13) if i != 4)
    for start in range(0, len(keys) - 12, 12):
        assert sorted(keys[start : start + 12]) == usable
    assert keys[:12] != keys[12:24]


def test_killed_runs_end_at_the_same_bits(whole: Run, shards: Path, tmp_path: Path) -> None:
    """kill -9 at random moments; every loss of every attempt is that of the whole run."""
    run = Run(tmp_path / "run", shards)
    rng = random.Random(time.time_ns())
    expected = dict(whole.lines())
    assert len(expected) == STEPS * 3
    for _ in range(KILLS):
        process = run.start()
        run.wait(process, rng.randint(1, max(2, 3 * STEPS // KILLS)))
        time.sleep(rng.random() * 0.2)
        process.kill()
        process.join()
        for path in run.checkpoints.glob("*.ckpt"):
            read_checkpoint(path)
    reached = read_checkpoint(run.last)["global_step"] if run.last.exists() else 0
    assert reached < STEPS, "nothing was left to resume"
    run.finish()
    lines = run.lines()
    assert dict(lines) == expected
    assert all(expected[place] == line for place, line in lines)
    assert_same_end(whole, run)
    assert not [p for p in run.checkpoints.iterdir() if p.suffix != ".ckpt"]


def test_a_run_that_ended_between_two_saves_goes_on(
    whole: Run, shards: Path, tmp_path: Path
) -> None:
    """It ends after step 7, which no periodic save (every 2 steps) keeps; then it is prolonged."""
    run = Run(tmp_path / "run", shards)
    arguments = run.arguments
    run.arguments = [*arguments, "--trainer.max_steps=7"]
    run.finish()
    assert read_checkpoint(run.last)["global_step"] == 7
    run.arguments = arguments
    run.finish()
    lines = run.lines()
    assert len(lines) == len(dict(lines)) and dict(lines) == dict(whole.lines())
    assert_same_end(whole, run)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_signal_saves_within_one_step_and_exits(
    whole: Run, shards: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    run = Run(tmp_path / "run", shards)
    process = run.start()
    run.wait(process, 4)
    assert process.pid is not None
    os.kill(process.pid, number)
    before = len(run.lines())
    process.join(GUARD)
    assert process.exitcode == code, run.log.read_text()
    done = len(run.lines())
    assert (
        done - before <= 3 + 3
    )  # what was written when the signal arrived, and the rest of a step
    checkpoint = read_checkpoint(run.last)
    assert checkpoint["global_step"] == done // 3 and done % 3 == 0
    assert f"Stopped by {number.name} after step {done // 3}; `--ckpt_path last`" in (
        run.log.read_text()
    )
    if number == signal.SIGTERM:  # once is enough
        run.finish()
        assert dict(run.lines()) == dict(whole.lines())
        assert_same_end(whole, run)
