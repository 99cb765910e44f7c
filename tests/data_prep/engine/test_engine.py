"""The local engine: order, identical rows whatever the processes, and workers that die."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest
from prep_jobs import Lengths
from prep_videos import listing
from waiting import wait_until

from data_prep.engine import attempt, map_rows
from data_prep.engine.ray import _Actor
from data_prep.options import EngineOptions
from data_prep.tables import Row
from lightning_artv.errors import MissingWeightsError, UserError

PATHS = [{"key": f"v{i}", "path": "x" * i} for i in range(11)]


def lengths(table: Path, numbers: list[int], processes: int, **job) -> list:
    rows = map_rows(Lengths(**job), table, numbers, EngineOptions(processes=processes))
    return [(row.get("length"), row["status"], row.get("error_kind")) for row in rows]


def test_results_come_in_the_order_asked_for(tmp_path: Path) -> None:
    table = listing(tmp_path / "t", PATHS)
    numbers = [7, 0, 3, 9, 1, 2, 10]
    expected = [(n, "ok", None) for n in numbers]
    assert lengths(table, numbers, processes=2, batch=2) == expected
    assert lengths(table, numbers, processes=1, batch=3) == expected
    assert lengths(table, [], processes=2) == []


def test_a_dead_or_hanging_worker_costs_its_video_only(tmp_path: Path) -> None:
    rows = [dict(row) for row in PATHS]
    rows[4]["caption"], rows[6]["caption"], rows[8]["caption"] = "kill", "hang", "bad"
    table = listing(tmp_path / "t", rows)
    marks = tmp_path / "marks"
    marks.mkdir()
    job = Lengths(batch=2, marks=str(marks))
    # long enough for the others' batches on a busy machine
    options = EngineOptions(processes=2, timeout=5)
    results = list(map_rows(job, table, range(11), options))
    assert [row["status"] for row in results] == [
        "failed" if n in (4, 6, 8) else "ok" for n in range(11)
    ]
    assert results[4]["error"] == "the process reading it died (SIGKILL)"
    assert results[6]["error"] == "it took longer than 5 s"
    assert results[4]["error_kind"] == results[6]["error_kind"] == "crash"
    assert results[8]["error_kind"] == "no_video"
    assert (marks / "v4").read_text() == "xx"  # a second try, alone


def test_a_job_without_its_weights_stops_everything(tmp_path: Path) -> None:
    table = listing(tmp_path / "t", PATHS)
    with pytest.raises(MissingWeightsError, match="no weights w"):
        lengths(table, [0, 1], processes=2, weights=False)


MISFORTUNES = {
    "bug": ("error", r"ZeroDivisionError: planted \(prep_jobs.py, line \d+\)"),
    "no memory": ("error", "MemoryError"),
    "no answer": ("error", "ValueError: 0 results for 1 rows"),
    "bad letters": ("error", r"OSError: x\\udcff"),
    "exit": ("crash", r"died \(exit code 3\)"),
    "ctrl-c": ("crash", r"died \(exit code 1\)"),
}


def misfortunes(tmp_path: Path) -> Path:
    rows = [dict(row) for row in PATHS]
    for number, misfortune in enumerate(MISFORTUNES, 2):
        rows[number]["caption"] = misfortune
    return listing(tmp_path / "t", rows)


def check_misfortunes(results: list[Row]) -> None:
    assert [row["length"] for row in results if row["status"] == "ok"] == [0, 1, 8, 9, 10]
    for row, (error_kind, reason) in zip(results[2:8], MISFORTUNES.values(), strict=True):
        assert row["error_kind"] == error_kind
        assert re.search(reason, row["error"])


def test_whatever_is_raised_for_a_video_costs_that_video(tmp_path: Path) -> None:
    table = misfortunes(tmp_path)
    check_misfortunes(list(map_rows(Lengths(batch=3), table, range(11), EngineOptions())))


def test_a_ray_actor_survives_what_is_raised_for_a_video(tmp_path: Path) -> None:
    actor = _Actor(Lengths(batch=3), misfortunes(tmp_path), timeout=600)
    with actor._pool:
        blocks = [range(start, min(start + 3, 11)) for start in range(0, 11, 3)]
        answers = [actor(pa.table({"number": list(block)})) for block in blocks]
    check_misfortunes([row for answer in answers for row in answer.to_pylist()])


def test_a_batch_is_tried_again_row_by_row() -> None:
    def work(rows: list[Row]) -> list[Row]:
        return [{"length": 1 // row["n"], "status": "ok"} for row in rows]

    results = attempt(work, [{"n": 1}, {"n": 0}, {"n": 1}])
    assert [row["status"] for row in results] == ["ok", "failed", "ok"]
    assert "ZeroDivisionError" in results[1]["error"]


def test_closing_early_ends_the_workers(tmp_path: Path) -> None:
    import multiprocessing

    table = listing(tmp_path / "t", PATHS)
    results = map_rows(Lengths(seconds=0.2), table, range(11), EngineOptions(processes=2))
    next(results)
    assert multiprocessing.active_children()
    results.close()
    wait_until(lambda: not multiprocessing.active_children(), "a worker was left")


@pytest.mark.parametrize(
    "options", [{"kind": "slurm"}, {"processes": 0}, {"timeout": 0}, {"gpus": -1}]
)
def test_impossible_engines_are_refused(options: dict) -> None:
    with pytest.raises(UserError):
        EngineOptions(**options)
