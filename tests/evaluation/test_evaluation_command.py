"""`python -m evaluation` as it is used: a miniature UCF-101, killed, resumed, reported."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from miniature import write_checkpoint, write_ucf101
from PIL import Image
from waiting import wait_until
from weight_files import write_c3d, write_i3d, write_inception, write_mean

from evaluation.__main__ import main
from evaluation.protocols import PRESETS
from evaluation.result import Result
from lightning_artv.errors import UserError

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]
CLASSES = ("Archery", "Biking", "HandstandPushups", "YoYo")
# 16 videos are the fewest that FVD∞ takes; C3D takes 16 frames; FID looks at the last two
CHANGES = ["count=16", "resolution=32", "splits=2", "fid_skip=14"]


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> list[str]:
    """`run` on a miniature with test-size networks, up to `--out`."""
    root = tmp_path_factory.mktemp("evaluation")
    networks = {
        "--i3d": write_i3d(root / "i3d.pt"),
        "--c3d": write_c3d(root / "c3d.npz"),
        "--c3d-mean": write_mean(root / "mean2.npz"),
        "--inception": write_inception(root / "inception.pth"),
        "--clip": clip_folder,
    }
    common = {
        "--protocol": "ucf101-2048",
        "--checkpoint": write_checkpoint(root / "last.ckpt"),
        "--data": write_ucf101(root / "data", CLASSES, videos=5, frames=18),
        "--cache": root / "cache",
        "--steps": "1",
        "--device": "cpu",
        "--generation-batch": "4",
        "--scoring-batch": "8",
    }
    pairs = [str(word) for pair in (common | networks).items() for word in pair]
    return ["run", *pairs, "--set", *CHANGES]


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for child in path.read_text().split()
    ]


def _alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc for child processes")
def test_a_miniature_run_killed_and_resumed_gives_the_same_report(
    arguments: list[str], tmp_path: Path
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "evaluation", *arguments, "--out", str(killed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--devices", "2"], cwd=ROOT, env=environment, stderr=subprocess.PIPE
    )
    videos = killed / "none" / "videos"

    def whole_videos() -> list[Path]:
        return [v for v in videos.glob("0*") if v.is_dir() and v.suffix != ".partial"]

    wait_until(lambda: len(whole_videos()) >= 2, "no video was made", process)
    workers = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(map(_alive, workers)), "workers outlive their killed parent")
    done = {p: p.stat().st_mtime_ns for video in whole_videos() for p in video.glob("*.png")}
    assert len(done) >= 2 * 16 and len(workers) >= 2
    assert not (killed / "report.md").exists()  # much is left to do, however late the signal came

    assert main([*arguments, "--out", str(killed)]) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done  # not made again
    assert main([*arguments, "--out", str(whole)]) == 0
    for name in ("report.md", "report.html", "report.tex"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    _check_every_column(whole)


def _check_every_column(out: Path) -> None:
    protocol = PRESETS["ucf101-2048"].with_changes(CHANGES)
    for mode in ("none", "true-frame"):
        result = Result.load(out / mode / "result.json")
        assert (result.mode, result.protocol["hash"]) == (mode, protocol.hash)
        assert result.protocol["name"] == "ucf101-2048*"
        measured = {m.metric: m for m in result.measurements}
        assert tuple(measured) == protocol.metrics
        for m in measured.values():
            assert m.status == "measured" and m.value is not None and m.value == m.value
        fvd, score = measured["fvd"], measured["is"]
        assert (fvd.real, fvd.fake, fvd.features) == (16, 16, "i3d@1/16")
        assert fvd.sd is not None and set(fvd.more) == {"FVD∞", "sd of FVD∞"}
        assert (measured["fid"].real, measured["fid"].fake) == (32, 32)
        assert score.value is not None and score.value >= 1 and score.sd_of == "over the splits"
        assert all(len(digest) == 64 for digest in fvd.weights.values()) and fvd.weights
        assert len(measured["drift"].curve["contrast"]) == 16
        assert {"date", "seconds", "device"} <= set(result.run)
    report = (out / "report.md").read_text()
    rows = [line for line in report.splitlines() if line.startswith("| ART•V without image")]
    assert len(rows) == 1 and "skipped" not in rows[0] and " ± " in rows[0]
    assert "ART•V + text-to-image frame: skipped." in report
    assert "data:image/gif" in (out / "report.html").read_text()
    assert list((out / "tensorboard").iterdir())


def fakes(folder: Path, count: int) -> Path:
    for number in range(count):
        (folder / f"v{number}").mkdir(parents=True)
        for frame in range(2):
            picture = Image.new("RGB", (16, 16), (10 * number, 100 * frame, 0))
            picture.save(folder / f"v{number}" / f"frame{frame}.png")
    return folder


@pytest.fixture
def scoring(tmp_path: Path) -> list[str]:
    write_ucf101(tmp_path / "data", ("Archery",), videos=2, frames=3)
    pairs = {
        "--data": tmp_path / "data",
        "--fake": fakes(tmp_path / "fakes", 3),
        "--out": tmp_path / "result.json",
        "--weights": tmp_path / "none",
        "--cache": tmp_path / "cache",
        "--device": "cpu",
    }
    words = [str(word) for pair in pairs.items() for word in pair]
    return ["score", *words, "--set", "count=3", "frames=2", "resolution=16", "splits=1"]


def test_missing_weights_exit_3_with_a_sentence_after_all_else_is_measured(
    scoring: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*scoring, "metrics=fvd,motion"]) == 3
    errors = [s for s in capsys.readouterr().err.splitlines() if s.startswith("error: ")]
    assert len(errors) == 1 and "i3d weights are missing: download" in errors[0]
    measurements = json.loads((tmp_path / "result.json").read_text())["measurements"]
    assert [m["status"] for m in measurements] == ["skipped", "measured"]
    assert "value" not in measurements[0] and measurements[1]["fake"] == 3


def test_nothing_random_without_the_flag(
    scoring: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evaluation.meters import base

    def never(*arguments: object) -> None:
        raise AssertionError("random features without --random-features")

    monkeypatch.setattr(base, "random_features", never)
    assert main([*scoring, "metrics=fvd,is,fid"]) == 3
    with pytest.raises(AssertionError):
        main([*scoring, "metrics=fvd", "--random-features", "0"])


def test_score_prints_its_numbers_and_warnings(
    scoring: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fakes" / "sound.wav").touch()
    assert main([*scoring, "metrics=fvd,motion,clipsim"]) == 3
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("| Metric | Value | sd |") and "| FVD ↓ | skipped |" in out
    motion = Result.load(tmp_path / "result.json").of("motion")
    assert motion is not None and motion.value == 0.0 and "| motion | 0.0000 |" in out
    protocol = PRESETS["ucf101-2048"].with_changes(scoring[scoring.index("--set") + 1 :])
    assert f"Protocol ucf101-2048* ({protocol.hash[:12]}), 2 real and 3 generated videos." in lines
    assert lines[-1] == str(tmp_path / "result.json")
    warnings = [line for line in lines if line.startswith("warning: ")]
    for words in ("FVD: skipped. ", "CLIPSIM: skipped. ", "sound.wav", "3 real videos and there"):
        assert sum(words in line for line in warnings) == 1, words
    assert "sound.wav" in err and "CLIPSIM is skipped" in err


def test_compare_names_another_way_of_storing(
    scoring: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*scoring, "metrics=motion", "--name", "pictures"]) == 0
    one = (tmp_path / "result.json").rename(tmp_path / "one.json")
    for folder in sorted((tmp_path / "fakes").iterdir()):
        frames = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
        np.save(folder.with_suffix(".npy"), np.stack(frames))
        shutil.rmtree(folder)
    assert main([*scoring, "metrics=motion", "--name", "arrays"]) == 0
    capsys.readouterr()
    assert main(["compare", str(one), str(tmp_path / "result.json")]) == 0
    assert "stored differently (pictures: png; arrays: npy)" in capsys.readouterr().out
    assert main(["compare", str(one), str(one)]) == 0
    assert "warning" not in capsys.readouterr().out


def test_real_videos_that_are_too_short_stop_a_run_before_it_generates(
    scoring: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "data")
    (tmp_path / "never.ckpt").touch()  # is not read
    never = [str(tmp_path / "never.ckpt"), "--out", str(tmp_path / "out"), "--data", data]
    for command in (["run"], ["generate", "--mode", "true-frame"]):
        changes = ["--set", "count=2", "frames=9"]
        assert main([*command, "--checkpoint", *never, *changes]) == 2
        error = capsys.readouterr().err
        assert "2 of the 2 real videos cannot be used: " in error
        assert "has 3 frames and the protocol needs 9" in error
    assert not (tmp_path / "out").exists()


def test_compare_and_report_from_the_command_line(
    scoring: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*scoring, "metrics=motion", "--name", "one"]) == 0
    path = tmp_path / "result.json"
    other = path.rename(tmp_path / "one.json")
    assert main([*scoring, "metrics=motion", "seed=5"]) == 0
    capsys.readouterr()
    assert main(["compare", str(other), str(other)]) == 0
    assert "| one |" in capsys.readouterr().out
    assert main(["compare", str(other), str(path)]) == 2
    assert "error: " in (error := capsys.readouterr().err) and "seed" in error
    assert main(["report", str(other), "--out", str(tmp_path / "report")]) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / "report" / f"report.{kind}") for kind in ("md", "html", "tex")
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score"], "are required"),
        (["protocols", "none"], "no protocol 'none'"),
        (["protocols", "tats", "--set", "x=1"], "field=value"),
        (["measure"], "nvalid choice"),
        (["run", "--modes", "some"], "nvalid choice"),
        (["generate", "--size", "big"], "must be HEIGHTxWIDTH"),
        (["generate", "--guidance", "1,2"], "three numbers"),
        (["generate", "--devices", "0"], "above 0"),
        (["compare", "none.json"], "no result 'none.json'"),
    ],
)
def test_bad_options_are_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error and error.count("\n") == 1


def test_listings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["protocols"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed and p.hash[:12] in listed for name, p in PRESETS.items())
    assert main(["protocols", "ucf101-2k"]) == 0
    shown = capsys.readouterr().out
    assert "fake_count: 2000  (assumed: '2k' read as 2,000)" in shown
    assert main(["weights", "--weights", str(tmp_path)]) == 0
    assert "i3d_torchscript.pt" in capsys.readouterr().out


def test_interruption_and_errors_have_their_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from evaluation import __main__ as command

    def stop(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "dispatch", stop)
    assert main(["protocols"]) == 130
    assert "Ctrl-C" in capsys.readouterr().err

    def full(options: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "dispatch", full)
    assert main(["protocols"]) == 2
    monkeypatch.setattr(command, "dispatch", lambda options: (_ for _ in ()).throw(UserError("x")))
    assert main(["protocols"]) == 2


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; from evaluation.__main__ import main\n"
        "try: main(['score', '--help'])\n"
        "except SystemExit: pass\n"
        "main(['protocols']); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
