"""`ablations-full` on a miniature: variants, the t_test sweep, a missing checkpoint, once only."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from miniature import write_checkpoint, write_ucf101
from weight_files import write_i3d

from evaluation import commands
from evaluation.__main__ import main
from evaluation.result import Result
from evaluation.studies.study import Study, Sweep

torch.set_num_threads(1)


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    write_checkpoint(tmp_path / "ckpts" / "full" / "checkpoints" / "last.ckpt")
    write_checkpoint(tmp_path / "ckpts" / "no_mask.ckpt", seed=1)
    sweep = Sweep("t_test", "noise_level", (0, 40))
    monkeypatch.setattr(Study, "sweeps", lambda _: {"t_test": sweep})
    pairs = {
        "--checkpoints": tmp_path / "ckpts",
        "--data-ucf101": write_ucf101(tmp_path / "data", ("Archery", "YoYo"), videos=2, frames=10),
        "--out": tmp_path / "out",
        "--i3d": write_i3d(tmp_path / "i3d.pt"),
        "--cache": tmp_path / "cache",
        "--device": "cpu",
        "--steps": "1",
    }
    words = [str(word) for pair in pairs.items() for word in pair]
    changes = ["count=2", "frames=9", "resolution=16", "metrics=kvd,motion"]
    return ["ablations-full", *words, "--set", *changes]


def test_every_checkpoint_is_measured_once_and_compared(
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main([*arguments, "--variants", "full", "no_anchor", "no_mask"]) == 2
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "no_anchor/last.ckpt: train it with `lightning fit" in errors[0]
    assert "configs/artv/ablation/no_anchor.yaml" in errors[0]
    folder = tmp_path / "out" / "ucf101-2k"
    rows = {path.parent.name: Result.load(path) for path in folder.glob("*/result.json")}
    assert set(rows) == {"full", "full-t_test-0", "full-t_test-40", "no_mask"}
    numbers = {name: row.of("motion").value for name, row in rows.items()}  # type: ignore[union-attr]
    assert len(set(numbers.values())) == 4 - 1  # t_test 0 is the checkpoint's own setting
    assert numbers["full"] == numbers["full-t_test-0"]
    assert {row.protocol["name"] for row in rows.values()} == {"ucf101-2k*"}
    table = (folder / "table.md").read_text()
    assert table in said.out and "| full model, t_test 40 + true first frame |" in table
    assert "no mask + true first frame" in (tmp_path / "out" / "report.md").read_text()

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    before |= {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}

    def never(*arguments: object) -> None:
        raise AssertionError("measured again")

    with monkeypatch.context() as patched:
        patched.setattr(commands, "measure", never)
        assert main([*arguments, "--variants", "full", "no_mask"]) == 0
        with pytest.raises(AssertionError, match="again"):
            main([*arguments, "metrics=motion", "--variants", "no_mask"])
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_missing_network_is_exit_3_and_measured_when_it_is_there(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = arguments.index("--i3d")
    without = [*arguments[:place], *arguments[place + 2 :], "--variants", "no_mask"]
    assert main([*without, "--weights", str(tmp_path)]) == 3
    assert "No known file of the i3d weights is in" in capsys.readouterr().err
    result = tmp_path / "out" / "ucf101-2k" / "no_mask" / "result.json"
    assert Result.load(result).of("kvd").value is None  # type: ignore[union-attr]
    assert main([*arguments, "--variants", "no_mask"]) == 0
    assert Result.load(result).of("kvd").value is not None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--data-ucf101"], "nothing to measure on: name --data-ucf101"),
        (["--mode", "some"], "A mode is one of none, text-to-image, true-frame, got 'some'"),
        (["--variants", "no_head"], "There is no variant 'no_head' in configs/artv/ablation: use"),
    ],
)
def test_bad_options_of_the_full_size_are_one_sentence(
    change: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [] if change == ["--data-ucf101"] else ["--data-ucf101", str(tmp_path), *change]
    assert main(["ablations-full", "--checkpoints", str(tmp_path), *data]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
