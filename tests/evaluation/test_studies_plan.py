"""Plans of ablations: budgets, variants, sweeps, what may be added to a folder, tasks."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluation.__main__ import main
from evaluation.options import build_parser
from evaluation.studies.artv.study import STUDY, VARIANTS
from evaluation.studies.budget import QUICK
from evaluation.studies.plan import Plan, open_plan
from evaluation.studies.plan import make_plan as make_study_plan
from evaluation.studies.study import Study, Sweep, Variant
from evaluation.studies.tasks import Task, plan_tasks, wanted
from lightning_artv.errors import UserError

ROOT = Path(__file__).parents[2]
DEMO = Path("configs/artv/demo.yaml")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    sweeps = STUDY.sweeps()
    sweeps["t_test"] = dataclasses.replace(sweeps["t_test"], variant="full")
    monkeypatch.setattr(Study, "sweeps", lambda _: sweeps)


def make_plan(*arguments: Any, **options: Any) -> Plan:
    return make_study_plan(STUDY, *arguments, **options)


def small(seeds: tuple[int, ...] = (0,), variants: tuple[str, ...] = ("full", "no_mask")) -> Plan:
    return make_plan(QUICK, seeds, variants, ("t_test",), DEMO)


SWEEPS = Study.sweeps


def sweeps_of(path: Path, name: str) -> dict[str, Sweep]:
    """What ART•V's study reads from another file with a sweep of that name."""
    axes = {**STUDY.axes, name: STUDY.axes["t_test"]}
    return SWEEPS(dataclasses.replace(STUDY, sweeps_file=path, axes=axes))


def test_a_plan_says_what_variants_change() -> None:
    plan = make_plan(QUICK, (0, 1, 1), VARIANTS, config=DEMO)
    assert plan.seeds == (0, 1) and tuple(v.name for v in plan.variants) == VARIANTS
    changes = {v.name: dict(v.changes) for v in plan.variants}
    assert changes["full"] == {} and changes["reference_noise"] == {
        "model.system.init_args.training.reference_noise": 0.15
    }
    assert changes["no_noise_augmentation"] == {
        "model.system.init_args.denoiser.max_noise_level": 0,
        "model.system.init_args.sampling.noise_level": 0,
    }
    content = plan.content()
    assert content["steps"] == QUICK.steps and content["budget"] == "quick"
    assert content["variants"][1]["title"] == "no mask"
    assert json.loads(json.dumps(content)) == content


def test_budgets_are_changed_by_name() -> None:
    changed = QUICK.with_changes(["steps=7", "clips=3"])
    assert changed == dataclasses.replace(QUICK, name="quick*", steps=7, clips=3)
    assert QUICK.with_changes([f"steps={QUICK.steps}"]).name == "quick"
    for wrong in ("step=7", "steps", "steps=0", "steps=x", "name=y"):
        with pytest.raises(UserError, match=f"--set takes NAME=NUMBER .* got '{wrong}'"):
            QUICK.with_changes([wrong])


@pytest.mark.parametrize(
    ("variants", "sweeps", "words"),
    [
        (
            ["full", "no_head"],
            None,
            "There is no variant 'no_head' in configs/artv/ablation: use some",
        ),
        (["full"], ["heat"], "There is no sweep 'heat': use some of t_test, guidance_references"),
        (["no_mask"], ["t_test"], "The sweep t_test is run on 'full': add it to --variants"),
    ],
)
def test_what_does_not_exist_is_named(
    variants: list[str], sweeps: list[str] | None, words: str
) -> None:
    with pytest.raises(UserError) as error:
        make_plan(QUICK, (0,), variants, sweeps, DEMO)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_without_its_variant_a_sweep_is_left_out() -> None:
    assert make_plan(QUICK, (0,), ("no_mask",), None, DEMO).sweeps == ()


def test_a_sweep_may_be_of_another_variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sweeps.yaml"
    path.write_text("mine: {setting: noise_level, values: [0, 9], variant: no_mask}\n")
    levels = sweeps_of(path, "mine")
    monkeypatch.setattr(Study, "sweeps", lambda _: levels)
    assert make_plan(QUICK, (0,), ("full",), None, DEMO).sweeps == ()
    plan = make_plan(QUICK, (0,), ("full", "no_mask"), None, DEMO)
    (task,) = (t for t in plan_tasks(plan, tmp_path) if t.kind == "sweep")
    assert task.name == "no_mask.seed0.mine"
    assert task.needs == ("no_mask.seed0.fit", "classifier")
    assert str(tmp_path / "runs" / "no_mask" / "seed0" / "checkpoints") in " ".join(task.arguments)


@pytest.mark.parametrize(
    "entry",
    [
        "[1, 2]",
        "{setting: heat, values: [1]}",
        "{setting: noise_level, values: []}",
        "{setting: noise_level, values: [1, 1]}",
        "{setting: noise_level, values: [true]}",
    ],
)
def test_a_wrong_sweep_is_named(entry: str, tmp_path: Path) -> None:
    path = tmp_path / "sweeps.yaml"
    path.write_text(f"mine: {entry}\n")
    with pytest.raises(UserError, match=r"'mine' in .*sweeps.yaml must be \{setting"):
        sweeps_of(path, "mine")


def test_variants_seeds_and_values_may_be_added(tmp_path: Path) -> None:
    open_plan(tmp_path, small())
    open_plan(tmp_path, small((2,), ("full", "no_anchor")))
    sweep = Sweep("t_test", "noise_level", (0, 7))
    open_plan(tmp_path, dataclasses.replace(small(), sweeps=(sweep,)))
    there = json.loads((tmp_path / "plan.json").read_text())
    assert there["seeds"] == [0, 2]
    assert [v["name"] for v in there["variants"]] == ["full", "no_mask", "no_anchor"]
    assert there["sweeps"][0]["values"] == [*small().sweeps[0].values, 7]


def test_anything_else_is_refused_and_leaves_the_plan(tmp_path: Path) -> None:
    open_plan(tmp_path, small())
    before = (tmp_path / "plan.json").read_bytes()
    other = Variant("no_mask", "no mask", {"data.anchor_window": 2})
    plan = small()
    refused = {
        "steps": dataclasses.replace(plan, budget=dataclasses.replace(QUICK, steps=1)),
        "config_sha256": dataclasses.replace(plan, config_sha256="0"),
        "no_mask.changes.model.system.init_args.denoiser.static_noise": dataclasses.replace(
            plan, variants=(other,)
        ),
        "t_test.setting": dataclasses.replace(
            plan, sweeps=(Sweep("t_test", "guidance.text", (1,)),)
        ),
    }
    for field, changed in refused.items():
        with pytest.raises(UserError) as error:
            open_plan(tmp_path, changed)
        assert "\n" not in str(error.value) and f"planned otherwise (other {field}" in str(
            error.value
        )
    assert (tmp_path / "plan.json").read_bytes() == before
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(UserError, match="is damaged"):
        open_plan(tmp_path, plan)


def test_the_digest_is_of_what_the_configuration_and_its_base_say(tmp_path: Path) -> None:
    base, top = tmp_path / "base.yaml", tmp_path / "top.yaml"
    base.write_text("# one\na: 1\nb: 2\n")
    top.write_text("extends: base.yaml\nc: 3\n")

    def digest() -> str:
        return make_plan(QUICK, (0,), ("full",), (), top).config_sha256

    before = digest()
    base.write_text("b: 2  # two\na: 1\n")
    assert digest() == before
    base.write_text("a: 1\nb: 4\n")
    assert digest() != before


def test_the_digest_is_of_the_weights_too_that_a_training_starts_from(tmp_path: Path) -> None:
    config, folder = tmp_path / "base.yaml", tmp_path / "model"
    folder.mkdir()
    config.write_text(f"model: {{init_from: {folder}}}\n")
    digests = set()
    for content in (None, "one", "two"):
        if content:
            (folder / "sha256.txt").write_text(content)
        digests.add(make_plan(QUICK, (0,), ("full",), (), config).config_sha256)
    assert len(digests) == 3


def option(task: Task, name: str) -> list[str]:
    """What follows `--name` or `--name=`."""
    words = task.arguments
    after = [words[i + 1] for i, word in enumerate(words) if word == f"--{name}"]
    return after + [w.partition("=")[2] for w in words if w.startswith(f"--{name}=")]


def test_tasks_come_after_what_they_need_seed_by_seed_and_sweeps_last(tmp_path: Path) -> None:
    plan = make_plan(QUICK, (0, 5), ("full", "no_mask"), ("t_test", "guidance_text"), DEMO)
    tasks = plan_tasks(plan, tmp_path)
    names = [task.name for task in tasks]
    assert len(set(names)) == len(names) == 2 + 1 + 2 * 2 * 2 + 2 * 2
    for task in tasks:
        assert {names.index(need) for need in task.needs} <= set(range(names.index(task.name)))
    place = {name: names.index(name) for name in names}
    assert place["no_mask.seed0.benchmark"] < place["full.seed5.fit"]
    assert place["full.seed5.fit"] < min(
        place["full.seed0.guidance_text"], place["full.seed0.t_test"]
    )
    assert wanted(tasks) == tasks


def test_commands_of_tasks_say_what_differs(tmp_path: Path) -> None:
    tasks = {task.name: task for task in plan_tasks(small((3,)), tmp_path)}
    fit = tasks["no_mask.seed3.fit"]
    assert fit.arguments[:2] == ("lightning_artv", "fit")
    assert option(fit, "config") == [str(DEMO), "configs/artv/ablation/no_mask.yaml"]
    assert option(tasks["full.seed3.fit"], "config") == [str(DEMO)]
    for name in ("seed_everything", "model.seed", "data.seed"):
        assert option(fit, name) == ["3"]
    assert option(fit, "trainer.max_steps") == [str(QUICK.steps)]
    root = tmp_path / "runs" / "no_mask" / "seed3"
    assert option(fit, "trainer.default_root_dir") == [str(root)]
    assert option(fit, "ckpt_path") == []
    checkpoint = root / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"damaged")
    fit = next(t for t in plan_tasks(small((3,)), tmp_path) if t.name == fit.name)
    assert option(fit, "ckpt_path") == [str(checkpoint)] and not fit.done()

    train, heldout = tasks["shards.train"], tasks["shards.heldout"]
    assert (option(train, "split"), option(heldout, "split")) == (["train"], ["heldout"])
    assert option(train, "seed") != option(heldout, "seed")
    assert option(heldout, "count") == [str(QUICK.heldout_worlds)]
    assert option(train, "frames") == option(heldout, "frames") == ["32"]  # 24 targets and more
    assert option(fit, "data.train") == [train.arguments[2]]
    assert option(fit, "data.val") == [heldout.arguments[2]]
    sweep = tasks["full.seed3.t_test"]
    assert option(sweep, "setting") == ["noise_level"] and sweep.arguments[-1] == "550"
    folder = tmp_path / "runs" / "full" / "seed3"
    for value in (0, 50, 100, 150, 200, 250, 300, 400, 550):
        assert not sweep.done()
        (folder / f"t_test_{value}").mkdir(parents=True)
        (folder / f"t_test_{value}" / "result.json").touch()
    assert sweep.done()


def test_every_command_of_a_task_is_accepted_by_its_parser(tmp_path: Path) -> None:
    parser = build_parser()
    for task in plan_tasks(small(), tmp_path):
        if task.arguments[0] == "evaluation":
            parser.parse_args(task.arguments[1:])


def test_bad_options_of_the_grid_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["ablations", "--out", str(tmp_path), "--config", str(DEMO)]
    for words, sentence in (
        (["--budget", "huge"], "There is no budget 'huge': use quick or long"),
        (["--seeds", "one"], "must be a whole number from 0, got 'one'"),
        (["--config", "no.yaml"], "There is no configuration file 'no.yaml'"),
    ):
        assert main([*out, *words]) == 2
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1
    assert not (tmp_path / "plan.json").exists()


def test_help_of_ablations_does_not_import_torch() -> None:
    code = (
        "import sys; from evaluation.__main__ import main\n"
        "try: main(['ablations', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
