"""`run`: all steps from one YAML, on any engine, killed at any moment."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from prep_videos import make_source, map_here, tree
from real_clips import CLIPS, needs_clips

from data_prep.__main__ import main
from data_prep.commands import run_recipe
from data_prep.engine import local
from data_prep.measure import columns as steps_module
from data_prep.options.recipe import Recipe, load_recipe
from data_prep.shards import check as check_module
from data_prep.shards import write as shards_module
from data_prep.tables import read_rows
from lightning_artv.data.tar import read_shard
from lightning_artv.errors import UserError

ROOT = Path(__file__).parents[2]
# Each process of an engine imports torch: with CLIP and real kills these tests take minutes.
SLOW = "DATA_PREP_KILLS" in os.environ
ALL = {"motion": [0, 100], "distance": None}
SELECT = {"motion": [0, 100], "distance": None, "held_out": 0.3}


def recipe(folder: Path, source: Path, name: str = "out", **more) -> Path:
    fields = {
        "source": {"kind": "folder", "path": str(source)},
        "out": str(folder / name),
        "select": SELECT,
        "shards": {"samples": 3, "size": 16, "preset": "ultrafast"},
        "engine": {"processes": 1},
        **more,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in this process."""
    monkeypatch.setattr(steps_module, "map_rows", map_here)
    monkeypatch.setattr(shards_module, "map_rows", map_here)
    monkeypatch.setattr(check_module, "map_rows", map_here)
    monkeypatch.setattr(steps_module, "CHUNK", 4)


def results(out: Path) -> dict[str, bytes]:
    """Every file but those that tell times: the logs and the report."""
    return {name: data for name, data in tree(out).items() if name != "report.html"}


def stored(out: Path) -> list[str]:
    shards = sorted((out / "shards").glob("*/*.tar"))
    return [raw.key for tar in shards for raw in read_shard(tar)]


def test_a_second_run_does_nothing_and_a_change_is_noticed(
    tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_source(tmp_path / "in", 7, broken=[2])
    path = recipe(tmp_path, source)
    assert main(["run", str(path)]) == 0
    assert "7 videos: 6 kept, 0 filtered, 1 failed" in capsys.readouterr().out
    assert sorted(stored(tmp_path / "out")) == [f"v{k:02d}" for k in range(7) if k != 2]
    before = tree(tmp_path / "out", without="report.html")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("0*.tar")}
    assert main(["run", str(path)]) == 0
    assert tree(tmp_path / "out", without="report.html") == before  # the logs too
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("0*.tar")} == times
    recipe(tmp_path, source, motion={"step": 2})
    capsys.readouterr()
    assert main(["run", str(path)]) == 2
    assert "another step (1, not 2); add --overwrite" in capsys.readouterr().err
    assert tree(tmp_path / "out", without="report.html") == before
    assert main(["run", str(path), "--overwrite"]) == 0
    assert read_rows(tmp_path / "out" / "motion.parquet")[0]["motion_step"] == 2


def test_killed_ten_times_at_random_the_result_is_the_same(tmp_path: Path, here: None) -> None:
    source = make_source(tmp_path / "in", 24, broken=[3, 11])
    whole = load_recipe(recipe(tmp_path, source, "whole"))
    assert not _forked(whole, kill_at=0)
    killed = load_recipe(recipe(tmp_path, source, "killed"))
    rng = random.Random(5)
    deaths = []
    while len(deaths) < 10:
        if _forked(killed, kill_at=rng.randint(1, 40)):
            deaths.append(len(tree(killed.out)))
        else:  # it was finished: begin again, so that there is something to kill
            assert results(killed.out) == results(whole.out)
            shutil.rmtree(killed.out)
    assert len(set(deaths)) > 4, deaths  # at different stages
    assert not _forked(killed, kill_at=0)
    assert results(killed.out) == results(whole.out)
    keys = stored(killed.out)
    assert len(keys) == len(set(keys)) == 22


def _forked(chosen: Recipe, kill_at: int) -> bool:
    """Run in a child that kills itself (SIGKILL) at one of its moments: before or after a file
    gets its name, or a video is done. Whether it died."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            _count_moments(kill_at)
            run_recipe(chosen)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _count_moments(kill_at: int) -> None:
    moments = 0
    replace = os.replace

    def moment() -> None:
        nonlocal moments
        moments += 1
        if moments == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched_replace(*names: object) -> None:
        moment()
        replace(*names)
        moment()

    def watched_map(*arguments: object):
        for row in map_here(*arguments):
            moment()
            yield row

    os.replace = watched_replace
    steps_module.map_rows = shards_module.map_rows = watched_map


def test_one_or_two_processes_give_the_same_bytes(
    tmp_path: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(tmp_path / "in", 6, broken=[1])
    more = {"clip": {"pretrained": str(clip_folder), "device": "cpu"}} if SLOW else {}
    for name, processes, start in (("one", 1, "forkserver"), ("two", 2, "spawn")):
        monkeypatch.setattr(local, "_SPAWN", multiprocessing.get_context(start))
        engine = {"processes": processes}
        run_recipe(load_recipe(recipe(tmp_path, source, name, engine=engine, select=ALL, **more)))
    assert results(tmp_path / "one") == results(tmp_path / "two")
    assert len(stored(tmp_path / "one")) == 5


def test_ray_gives_the_same_bytes(
    tmp_path: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    source = make_source(tmp_path / "in", 6, broken=[1])
    more = {"clip": {"pretrained": str(clip_folder), "device": "cpu"}} if SLOW else {}
    with monkeypatch.context() as patch:
        patch.setattr(steps_module, "map_rows", map_here)
        patch.setattr(shards_module, "map_rows", map_here)
        run_recipe(load_recipe(recipe(tmp_path, source, "here", select=ALL, **more)))
    engine = {"kind": "ray", "processes": 1}
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=40)
    try:
        run_recipe(load_recipe(recipe(tmp_path, source, "ray", engine=engine, select=ALL, **more)))
    finally:
        ray.shutdown()
    assert results(tmp_path / "ray") == results(tmp_path / "here")


@needs_clips
def test_every_real_clip_is_accounted_for(tmp_path: Path, here: None, clip_folder: Path) -> None:
    chosen = recipe(
        tmp_path,
        CLIPS,
        clip={"pretrained": str(clip_folder), "device": "cpu"},
        select={"motion": [2, 15], "share": 0.8, "held_out": 0.1},
        shards={"samples": 8, "size": 64, "preset": "ultrafast", "cut": True},
    )
    run_recipe(load_recipe(chosen))
    out = tmp_path / "out"
    accounts = read_rows(out / "shards" / "videos.parquet")
    assert len(accounts) == len({row["key"] for row in accounts}) == 24
    outcomes = {row["key"]: row["outcome"] for row in accounts}
    motion = {row["key"]: row["motion"] for row in read_rows(out / "motion.parquet")}
    for row in accounts:
        assert (row["outcome"] == "kept") == (row["samples"] > 0) == (row["reason"] is None)
    for key, score in motion.items():
        assert 2 <= score <= 15 or outcomes[key] == "filtered"
    assert sum(row["samples"] for row in accounts) == len(stored(out)) > 10
    page = (out / "report.html").read_text()
    assert "24 videos, each accounted for" in page
    assert page.count("<svg") >= 8 and page.count("data:image/jpeg;base64,") >= 12
    assert "://" not in page and "<script" not in page


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "There is no recipe"),
        ("source: [", "is not YAML"),
        ("out: a\nout: b\n", "is there twice"),
        ("out: x", "source"),
        ("{source: {kind: folder, path: x}, out: y, slect: {}}", "slect"),
        ("{source: {kind: folder, path: x}, out: y, shards: {gop: near}}", "gop"),
        ("{source: {kind: folder, path: x}, out: y, engine: {kind: slurm}}", "slurm"),
        ("{source: {kind: folder, path: x}, out: y, select: {count: 1, share: 0.5}}", "either"),
        ("{source: {kind: folder, path: x}, out: y, engine: {proceses: 1}}", "proceses"),
        ("[1, 2]", "list"),
    ],
)
def test_a_bad_recipe_is_one_sentence(
    tmp_path: Path, text: str | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.yaml"
    if text is not None:
        path.write_text(text)
    assert main(["run", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and words in error


def test_the_example_is_a_recipe() -> None:
    found = load_recipe(ROOT / "data_prep" / "example.yaml")
    assert found.select.count == 5_000_000
    assert found.select.motion == (1.0, 20.0)
    assert found.clip is not None


def test_the_steps_as_commands(
    tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_source(tmp_path / "in", 5, broken=[1])
    paths = {name: str(tmp_path / name) for name in ("m.parquet", "s.parquet", "out")}
    assert main(["motion", str(source), paths["m.parquet"], "--kind", "folder"]) == 0
    assert "4 ok, 1 failed" in capsys.readouterr().out
    window = ["--motion", ":1000", "--filter", "brightness=1:", "--keep-duplicates"]
    assert main(["select", paths["m.parquet"], paths["s.parquet"], *window]) == 0
    assert "4 kept, 1 failed" in capsys.readouterr().out
    assert main(["shards", paths["s.parquet"], paths["out"], "--size", "16", "--gop", "6"]) == 0
    assert "5 videos: 4 kept, 0 filtered, 1 failed" in capsys.readouterr().out
    train = tmp_path / "out" / "train"
    assert main(["check", str(train), "--quick", "--processes", "1"]) == 0
    (train / "00000.tar").unlink()
    assert main(["check", str(train), "--quick", "--processes", "1"]) == 5
    again = ["--quick", "--processes", "1", "--repair", paths["s.parquet"]]
    assert main(["check", str(train), *again]) == 0
    assert (train / "00000.tar").exists()


@pytest.mark.parametrize(
    "line",
    [
        "motion a b",
        "select a b --motion 3",
        "select a b --filter x",
        "shards a b --samples 1 --mega 2",
    ],
)
def test_a_bad_command_line_is_refused(line: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    assert stop.value.code == 2


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("data_prep.commands.run_recipe", interrupted)
    assert main(["run", str(recipe(tmp_path, tmp_path))]) == 130
    assert capsys.readouterr().err == "error: Stopped by Ctrl-C; run it again to go on.\n"


@pytest.mark.skipif(not SLOW, reason="minutes; set DATA_PREP_KILLS=10")
def test_the_command_killed_with_all_its_processes(tmp_path: Path) -> None:
    source = make_source(tmp_path / "in", 60, broken=[3, 11])
    command = [sys.executable, "-m", "data_prep", "run"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    engine = {"engine": {"processes": 2}}
    started = time.monotonic()
    whole = recipe(tmp_path, source, "whole", **engine)
    subprocess.run([*command, str(whole)], check=True, env=environment, cwd=tmp_path)
    seconds = time.monotonic() - started
    killed = recipe(tmp_path, source, "killed", **engine)
    rng = random.Random(1)
    deaths = 0
    while deaths < int(os.environ["DATA_PREP_KILLS"]):
        process = subprocess.Popen([*command, str(killed)], env=environment, cwd=tmp_path)
        time.sleep(rng.uniform(0.1, 0.7) * seconds)
        if process.poll() is not None:
            shutil.rmtree(tmp_path / "killed")
            continue
        process.kill()
        process.wait()
        deaths += 1
    subprocess.run([*command, str(killed)], check=True, env=environment, cwd=tmp_path)
    left = results(tmp_path / "killed")
    assert left == results(tmp_path / "whole")
    assert (
        json.loads(left["shards/train/manifest.json"])["samples"]
        + json.loads(left["shards/held_out/manifest.json"])["samples"]
        == 58
    )


def test_a_source_that_is_not_there_is_one_sentence(tmp_path: Path, here: None) -> None:
    with pytest.raises(UserError):
        run_recipe(load_recipe(recipe(tmp_path, tmp_path / "nowhere")))
