"""The scheduler: order, failures, kills, restarts; with small real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from waiting import GUARD, wait_until

from evaluation.studies.command import _stopped_by_sigterm
from evaluation.studies.scheduler import Scheduler, locked
from evaluation.studies.tasks import Task, wanted
from lightning_artv.errors import UserError

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")


@pytest.fixture(autouse=True)
def fakes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent)]))


def fake(
    folder: Path, name: str, needs: Sequence[str] = (), seconds: float = 0, what: str = ""
) -> Task:
    result = folder / name
    words = ("fake_task", str(result), str(seconds), *([what] if what else []))
    return Task(name, name[0], words, result.is_file, str(result), tuple(needs))


def starts(folder: Path, name: str) -> int:
    path = folder / f"{name}.starts"
    return len(path.read_text().splitlines()) if path.exists() else 0


def pids(folder: Path, names: str = "*") -> list[int]:
    lines = [
        line for path in folder.glob(f"{names}.starts") for line in path.read_text().splitlines()
    ]
    return [int(word) for line in lines for word in line.split()[:2]]


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_tasks_run_after_what_they_need_two_at_once_with_one_thread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [
        fake(tmp_path, "a", seconds=0.5),
        fake(tmp_path, "b", seconds=0.5),
        fake(tmp_path, "c", ["a", "b"]),
        fake(tmp_path, "d", ["c"]),
    ]
    scheduler = Scheduler(tasks, tmp_path, workers=2)
    scheduler.run()
    assert (scheduler.done, scheduler.total, scheduler.failed) == (4, 4, {})
    lines = capsys.readouterr().err.splitlines()
    events = [line.partition(";")[0].split(" done in")[0] for line in lines]
    assert events[:2] == ["a started", "b started"] and sorted(events[2:4]) == ["a", "b"]
    assert events[4:] == ["c started", "c", "d started", "d"]
    progress = r"d done in \d+:\d\d; 4/4 done, [\d.]+ tasks/min, about 0:00 left"
    assert re.fullmatch(progress, lines[-1])
    assert (tmp_path / "a.starts").read_text().split()[2] == "1"
    assert (tmp_path / "logs" / "a.log").read_text().startswith("$ python -m fake_task ")
    timing = json.loads((tmp_path / "timing.json").read_text())
    assert timing.keys() == {"a", "b", "c", "d"} and timing["a"] >= 0.5

    again = Scheduler(tasks, tmp_path, workers=2)
    again.run()
    assert again.done == 4 and [starts(tmp_path, name) for name in "abcd"] == [1] * 4
    assert json.loads((tmp_path / "timing.json").read_text()) == timing


def test_a_failure_is_one_sentence_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [
        fake(tmp_path, "a", what="fail"),
        fake(tmp_path, "b", what="nothing"),
        fake(tmp_path, "c", ["a"]),
        fake(tmp_path, "d", ["c"]),
        fake(tmp_path, "e"),
    ]
    scheduler = Scheduler(tasks, tmp_path, workers=1)
    scheduler.run()
    log = tmp_path / "logs" / "a.log"
    assert scheduler.failed == {
        "a": f"a failed: The fake is broken: mend it; its log is {log}.",
        "b": f"b failed: it ended without its result, {tmp_path / 'b'}; its log is "
        f"{tmp_path / 'logs' / 'b.log'}.",
    }
    assert (scheduler.left_out, scheduler.done) == (["c", "d"], 1)
    assert scheduler.failed["a"] in capsys.readouterr().err
    assert starts(tmp_path, "c") == 0 and (tmp_path / "e").exists()
    mended = [fake(tmp_path, "a"), *tasks[2:]]
    Scheduler(mended, tmp_path, workers=1).run()
    assert (tmp_path / "d").exists() and starts(tmp_path, "e") == 1
    assert log.read_text().count("$ python") == 2  # the log of the failure is kept


def test_only_what_is_missing_and_what_that_needs_is_wanted(tmp_path: Path) -> None:
    tasks = [
        *(fake(tmp_path, name) for name in "ab"),
        fake(tmp_path, "c", ["a"]),
        fake(tmp_path, "d", ["b", "c"]),
        fake(tmp_path, "e", ["b"]),
    ]
    assert wanted(tasks) == tasks
    (tmp_path / "d").touch()
    assert [task.name for task in wanted(tasks)] == ["b", "e"]  # a and c are nobody's any more
    (tmp_path / "b").touch()
    assert [task.name for task in wanted(tasks)] == ["e"]
    (tmp_path / "e").touch()
    assert wanted(tasks) == []


RUN = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from evaluation.studies import scheduler
from evaluation.studies.command import _stopped_by_sigterm
from evaluation.studies.scheduler import Scheduler, locked
scheduler.SAVE_EVERY = 0.1
from test_studies_scheduler import fake
from waiting import GUARD
out = Path(sys.argv[1])
long = 2 * GUARD
tasks = [fake(out, 'a'), fake(out, 'b', ['a'], long), fake(out, 'c', [], long)]
tasks.append(fake(out, 'd', ['b']))
with locked(out) as lock, _stopped_by_sigterm():
    Scheduler(tasks, out, 2, [lock]).run()
"""


def started(out: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", RUN, str(out)], stderr=subprocess.DEVNULL)
    wait_until(lambda: starts(out, "b") + starts(out, "c") == 2, "the tasks did not start")
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_leaves_no_process_and_repeats_nothing(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = started(tmp_path)
    running = pids(tmp_path, "[bc]")
    assert len(running) == 4 and all(map(alive, running))
    timing = tmp_path / "timing.json"  # is written meanwhile: what is killed has its seconds too
    wait_until(lambda: json.loads(timing.read_text()).keys() == {"a", "b", "c"}, "no seconds")
    process.send_signal(number)
    assert process.wait(GUARD) != 0
    with locked(tmp_path, patience=GUARD):  # free when the last of them has ended, not before
        assert not any(map(alive, pids(tmp_path)))
    assert (tmp_path / "b.saved").read_text() == str(int(signal.SIGTERM))  # it could save
    before = json.loads(timing.read_text())

    short = [fake(tmp_path, "a"), fake(tmp_path, "b", ["a"]), fake(tmp_path, "d", ["b"])]
    Scheduler(short, tmp_path, 2).run()
    assert [starts(tmp_path, name) for name in "abcd"] == [1, 2, 1, 1]
    after = json.loads(timing.read_text())
    assert after["b"] > before["b"] > 0 and after["a"] == before["a"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_never_breaks_into_a_poll(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll, whole = subprocess.Popen.poll, []

    def signalled(process: subprocess.Popen[bytes]) -> int | None:
        if starts(tmp_path, "a") and not whole:
            os.kill(os.getpid(), number)
            whole.append(poll(process))  # what a signal that raises would leave out
        return poll(process)

    monkeypatch.setattr(subprocess.Popen, "poll", signalled)
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with _stopped_by_sigterm(), pytest.raises(KeyboardInterrupt):
        Scheduler([fake(tmp_path, "a", (), 2 * GUARD)], tmp_path, 1).run()
    assert whole == [None]
    wait_until(lambda: not any(map(alive, pids(tmp_path))), "a process lives on")
    assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]


def test_a_second_run_of_a_folder_is_refused_while_one_lives(tmp_path: Path) -> None:
    process = started(tmp_path)
    try:
        sentence = r"Another run is at work in '.*': wait"
        with pytest.raises(UserError, match=sentence) as error, locked(tmp_path, patience=0.3):
            pass
        assert "\n" not in str(error.value)
    finally:
        process.terminate()
        process.wait(GUARD)


def test_what_ignores_sigterm_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    code = "import sys; from evaluation.studies import guard; guard.PATIENCE = 0.3\n"
    command = [sys.executable, "-m", *fake(tmp_path, "a", (), 2 * GUARD, "stubborn").arguments]
    guard = subprocess.Popen(
        [sys.executable, "-c", f"{code}sys.exit(guard.main({command!r}))"],
        stdin=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert guard.stdin is not None
    wait_until(lambda: starts(tmp_path, "a") == 1, "it did not start")
    guard.stdin.close()
    assert guard.wait(GUARD) == 128 + signal.SIGKILL
    wait_until(lambda: not any(map(alive, pids(tmp_path))), "a process was left")


def test_a_damaged_timing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "timing.json").write_text("[1]")
    with pytest.raises(UserError, match=r"timing.json' is damaged: remove it"):
        Scheduler([fake(tmp_path, "a")], tmp_path, 1)
