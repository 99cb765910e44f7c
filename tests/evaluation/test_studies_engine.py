"""A second system's study is one file and its YAML: planned, run in tasks, claimed, shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_results import _run, _write
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_study import STUDY

import evaluation.studies
from evaluation.__main__ import main
from evaluation.studies.claims import findings
from evaluation.studies.grid import read_grid
from evaluation.studies.plan import make_plan, open_plan
from evaluation.studies.ranking import best_variant, rankings
from evaluation.studies.study import find_study
from evaluation.studies.tasks import plan_tasks
from lightning_artv.errors import UserError

SEEDS, TOY = (0, 1, 2), ["--study", "toy_study.STUDY"]
STUDY_BASE = "full"


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the toy's YAML, and a finished grid of it."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "base.yaml": "model: {warmth: 20}",
        "variants/cold.yaml": "model: {warmth: 0}",
        "sweeps.yaml": "heat: {setting: oven.heat, values: [100, 200]}",
    }.items():
        path = tmp_path / "study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    out = tmp_path / "out"
    out.mkdir()
    open_plan(out, make_plan(STUDY, STUDY.budgets["tiny"].budget, SEEDS, (STUDY_BASE, "cold")))
    noise = np.random.default_rng(0)

    def result(shift: dict[str, float], heat: float) -> dict[str, Any]:
        run = _run(noise, shift, 0.01, 0.01, 4, 0)
        del run["mask"]
        run["protocol"]["sampling"] = {"oven": {"heat": heat}}
        return {**run, "warmth": 20 + shift.get("FVD", 0.0)}

    for seed in SEEDS:
        for variant, shift in ((STUDY_BASE, {}), ("cold", {"FVD": 9.0})):
            folder = out / "runs" / variant / f"seed{seed}"
            _write(folder / "benchmark", result(shift, 0))
            (folder / "config.yaml").write_text(f"model: {{warmth: {20 * (not shift)}}}")
        base = out / "runs" / STUDY_BASE / f"seed{seed}"
        for heat in (100, 200):
            _write(base / f"heat_{heat}", result({"direction@16": 0.1}, heat))
    return out


def test_it_is_planned_and_its_commands_name_its_files(out: Path) -> None:
    plan = json.loads((out / "plan.json").read_text())
    assert plan["study"] == "toy" and [v["changes"] for v in plan["variants"]] == [
        {},
        {"model.warmth": 0},
    ]
    tasks = plan_tasks(
        make_plan(STUDY, STUDY.budgets["tiny"].budget, (0,), (STUDY_BASE, "cold")), out
    )
    words = {task.name: task.arguments for task in tasks}
    configs = [w for w in words["cold.seed0.fit"] if w.endswith(".yaml")]
    assert configs == ["study/base.yaml", "study/variants/cold.yaml"]
    assert words["full.seed0.heat"][-5:] == ("--setting", "oven.heat", "--values", "100", "200")


def test_its_claims_are_tested_with_its_own_zero(out: Path) -> None:
    grid = read_grid(out, STUDY)
    assert [*grid.levels("heat")] == [0, 100, 200]
    warmth, heat = findings(grid)
    assert (warmth.verdict, heat.verdict) == ("reproduced", "reproduced")
    assert warmth.difference == pytest.approx(9, abs=0.1) and heat.worse.name == "at 0"
    (ranking,) = rankings(grid)
    assert [a.name for a in ranking.order] == ["warm", "cold"]
    goal = best_variant(grid)
    assert goal is not None and goal.reached


def test_its_page_and_board_show_what_is_its_own(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ablations-report", str(out)]) == 2
    assert "holds the study toy: name its module with --study" in capsys.readouterr().err
    assert main(["ablations-report", str(out), "--study", "toy_study"]) == 2
    assert "There is no study 'toy_study'" in capsys.readouterr().err
    assert main(["ablations-report", str(out), *TOY]) == 0
    page = (out / "page" / "index.html").read_text()
    order = re.findall(r"<h2 id=(\w+)>", page)
    own = ["clips", "variants_bars", "heat", "warm"]
    assert order == ["claims", "variants", "drift", *own, "protocol"]
    assert "A toy: studied" in page and "variants of a toy," in page
    assert "<h3>Which temperature wins</h3>" in page
    assert "How <b>warm</b>." in page and "It was cold." in page
    said = re.sub(r"<[^>]+>", " ", page.split("<body>")[-1]).lower()
    assert not [word for word in ("art•v", "mask", "anchor", "references") if word in said]
    events = EventAccumulator(str(out / "tensorboard" / "cold" / "seed1")).Reload()
    assert [e.value for e in events.Scalars("warmth")] == [29.0]
    base = EventAccumulator(str(out / "tensorboard" / "full")).Reload()
    assert [e.step for e in base.Scalars("heat/direction@16")] == [100, 200]


@pytest.mark.parametrize("name", ["gone", "plan", "no.such.module", "..x", ""])
def test_a_study_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"There is no study '{name}'"):
        find_study(name)


def test_the_engine_knows_no_system() -> None:
    """Words of ART•V occur in its own file alone."""
    folder = Path(evaluation.studies.__file__).parent
    words = re.compile(r'\b(anchor(?!="rm")|masks?|noise_level|static_noise|references)\b', re.I)
    for path in [*folder.glob("*.py"), *folder.glob("*.html")]:
        if path.name != "artv.py":
            found = [line for line in path.read_text().splitlines() if words.search(line)]
            assert not found, (path.name, found)
