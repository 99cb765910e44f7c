"""`python -m evaluation ablations` as it is used: a micro grid, killed, restarted, extended."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import pytest
import yaml
from forks import Forked, module
from waiting import GUARD, wait_until

from evaluation.__main__ import main
from evaluation.studies import scheduler
from evaluation.studies.study import Study, Sweep

ROOT = Path(__file__).parents[2]
MICRO = {
    "extends": str(ROOT / "configs" / "artv" / "demo.yaml"),
    "model": {
        "system": {"init_args": {"unet": {"init_args": {"channels": [16, 16]}}}},
        "warmup_steps": 0,
    },
    "data": {"batch_size": 2, "val_batch_size": 2, "num_workers": 0},
    "trainer": {
        "val_check_interval": 100,
        "callbacks": [
            {"class_path": "lightning_artv.training.ema.EMA"},
            {
                "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                "init_args": {
                    "dirpath": "${trainer.default_root_dir}/checkpoints",
                    "save_last": True,
                    "every_n_train_steps": 1,
                },
            },
        ],
    },
}
NUMBERS = ["steps=3", "train_worlds=6", "heldout_worlds=2"]
NUMBERS += ["clips=2", "long_clips=2", "long_frames=32", "sweep_clips=2"]


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command up to `--variants`, in a folder with a classifier that has learnt nothing."""
    monkeypatch.chdir(ROOT)
    out = tmp_path / "out"
    words = ["shapes-classifier", "--out", str(out / "classifier.safetensors")]
    assert main([*words, "--steps", "1", "--worlds", "4", "--device", "cpu"]) == 0
    config = tmp_path / "micro.yaml"
    config.write_text(yaml.safe_dump(MICRO))
    words = ["ablations", "--out", str(out), "--config", str(config), "--seeds", "0"]
    return [*words, "--workers", "2", "--set", *NUMBERS]


def starts(out: Path) -> dict[str, int]:
    """Task -> how often it was started."""
    logs = {path.stem: path.read_text() for path in (out / "logs").glob("*.log")}
    return {name: text.count("$ python -m") for name, text in logs.items()}


class ForkedTask(Forked):
    """A task without its guard, which `test_studies_scheduler.py` tests: `subprocess.Popen`."""

    def __init__(
        self, command: Sequence[str], stdout: TextIO, env: dict[str, str], **_: Any
    ) -> None:
        assert command[1:5] == ["-m", "evaluation.studies.guard", sys.executable, "-m"]
        super().__init__(Path(stdout.name), module, *command[5:], **env)
        self.stdin = io.BytesIO()


def test_a_micro_grid_killed_and_restarted_repeats_nothing(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    two = [*arguments, "--variants", "full", "no_mask"]
    process = subprocess.Popen(
        [sys.executable, "-m", "evaluation", *two, "--sweeps"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    first = out / "runs" / "full" / "seed0" / "checkpoints" / "last.ckpt"
    wait_until(first.exists, "no checkpoint", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with scheduler.locked(out, GUARD):  # its tasks end by themselves
        killed = starts(out)
    assert killed.keys() >= {"shards.train", "shards.heldout", "full.seed0.fit"}
    assert not list(out.rglob("result.json"))
    capfd.readouterr()

    levels = {"t_test": Sweep("t_test", "noise_level", (0, 20))}
    monkeypatch.setattr(Study, "sweeps", lambda _: levels)
    monkeypatch.setattr(scheduler.subprocess, "Popen", ForkedTask)
    assert main(two) == 0
    counts = starts(out)
    assert counts["shards.train"] == counts["shards.heldout"] == 1
    assert 1 <= counts["full.seed0.fit"] <= 2 and 1 <= counts["no_mask.seed0.fit"] <= 2
    assert "classifier" not in counts  # it was there
    results = [f"runs/{v}/seed0/benchmark" for v in ("full", "no_mask")]
    results += [f"runs/full/seed0/t_test_{level}" for level in (0, 20)]
    found = {str(p.parent.relative_to(out)): p for p in out.rglob("result.json")}
    assert found.keys() == set(results)
    contents = {name: json.loads(path.read_text()) for name, path in found.items()}
    for name, content in contents.items():
        assert content["checkpoint"]["step"] == 3 and content["protocol"]["clips"] == 2
        long = content["metrics"]["background_psnr@127"] if "t_test" not in name else None
        assert len(content["curves"]["psnr"]) == (16 if "t_test" in name else 32) and long is None
    assert contents[results[3]]["protocol"]["sampling"]["noise_level"] == 20
    assert contents[results[2]]["protocol"]["sampling"]["noise_level"] == 0
    assert (contents[results[0]]["mask"], contents[results[1]]["mask"]) != (None, None)
    assert contents[results[1]]["mask"] is None
    assert (out / "tensorboard").is_dir() and json.loads((out / "plan.json").read_text())["seeds"]

    before = {path: path.stat().st_mtime_ns for path in found.values()}
    assert main(two) == 0
    assert starts(out) == counts
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "8 of 8 tasks were done before" in capfd.readouterr().err

    assert main([*arguments, "steps=4", "--variants", "full"]) == 2
    error = capfd.readouterr().err
    assert "planned otherwise (other steps): name another --out" in error and starts(out) == counts
