"""A plan's tasks: each one command, a result whose existence says that it is done, and what it
needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.studies.plan import Plan
from evaluation.studies.study import BASE, Sweep
from lightning_artv.errors import UserError

TRAIN_SEED, HELDOUT_SEED = 0, 1
FRAMES = 32
"""Of the worlds that are trained on: for windows of several targets."""
SHARDS = ("shards.train", "shards.heldout")
RESULT = "result.json"


@dataclass(frozen=True)
class Task:
    """One process.

    Attributes:
        name: name of the task and of its log.
        kind: tasks of one kind take about as long.
        arguments: arguments of `python -m`.
        done: whether its result is there, whole.
        result: what that is, for messages.
        needs: names of tasks whose results it reads.
    """

    name: str
    kind: str
    arguments: tuple[str, ...]
    done: Callable[[], bool]
    result: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Where everything is in the folder of an ablation."""

    out: Path

    @property
    def classifier(self) -> Path:
        """The classifier whose features FVD and IS use."""
        return self.out / "classifier.safetensors"

    def shards(self, split: str) -> Path:
        """Videos of `train` or `heldout`."""
        return self.out / "shards" / split

    def run(self, variant: str, seed: int) -> Path:
        """A training."""
        return self.out / "runs" / variant / f"seed{seed}"

    def checkpoint(self, variant: str, seed: int) -> Path:
        """Its last checkpoint."""
        return self.run(variant, seed) / "checkpoints" / "last.ckpt"

    def log(self, task: str) -> Path:
        """What a task printed."""
        return self.out / "logs" / f"{task}.log"


def plan_tasks(plan: Plan, out: Path) -> list[Task]:
    """All tasks, each after what it needs.

    A worker takes the first that can start. So all variants of the first seed are trained and
    measured before the second seed begins, and the short sweeps come last, where they fill what the
    long trainings leave of the cores.
    """
    layout = Layout(out)
    tasks = [*_data(plan, layout), _classifier(layout)]
    for seed in plan.seeds:
        for variant in plan.variants:
            tasks += [make(plan, layout, variant.name, seed) for make in (_fit, _benchmark)]
    for seed in plan.seeds:
        tasks += [_sweep(plan, layout, sweep, seed) for sweep in plan.sweeps]
    return tasks


def wanted(tasks: Sequence[Task]) -> list[Task]:
    """The tasks that are left to do: results that are missing, and what they need.

    What only finished tasks read is not made again: checkpoints may be deleted after that.
    """
    read = {name for task in tasks for name in task.needs}
    needed: set[str] = set()
    left = []
    for task in reversed(tasks):
        if (task.name in needed or task.name not in read) and not task.done():
            left.append(task)
            needed.update(task.needs)
    return left[::-1]


def _data(plan: Plan, layout: Layout) -> Iterator[Task]:
    budget = plan.budget
    for split, seed, count in (
        ("train", TRAIN_SEED, budget.train_worlds),
        ("heldout", HELDOUT_SEED, budget.heldout_worlds),
    ):
        folder = layout.shards(split)
        words = ("shapes", folder, "--scenes", "worlds", "--count", count, "--seed", seed)
        options = ("--frames", FRAMES, "--split", split, "--overwrite")
        command = _text("data_prep", *words, *options)
        yield Task(f"shards.{split}", "shards", command, folder.is_dir, str(folder))


def _classifier(layout: Layout) -> Task:
    file = layout.classifier
    command = _text("evaluation", "shapes-classifier", "--out", file)
    return Task("classifier", "classifier", command, file.is_file, str(file))


def _fit(plan: Plan, layout: Layout, variant: str, seed: int) -> Task:
    checkpoint, steps = layout.checkpoint(variant, seed), plan.budget.steps
    words: list[object] = ["lightning_artv", "fit", "--config", plan.config]
    words += ["--config", plan.study.overlay(variant)] if variant != BASE else []
    words += [
        *(f"--{key}={seed}" for key in ("seed_everything", "model.seed", "data.seed")),
        f"--data.train={layout.shards('train')}",
        f"--data.val={layout.shards('heldout')}",
        f"--trainer.max_steps={steps}",
        f"--trainer.default_root_dir={layout.run(variant, seed)}",
    ]
    words += [f"--ckpt_path={checkpoint}"] if checkpoint.is_file() else []
    return Task(
        f"{variant}.seed{seed}.fit",
        "fit",
        _text(*words),
        lambda: _trained(checkpoint, steps),
        f"step {steps} in {checkpoint}",
        SHARDS,
    )


def _benchmark(plan: Plan, layout: Layout, variant: str, seed: int) -> Task:
    budget, folder = plan.budget, layout.run(variant, seed) / "benchmark"
    result = folder / RESULT
    words = (
        *("evaluation", "shapes", *_model(layout, variant, seed), "--out", folder),
        *("--clips", budget.clips, "--long-clips", budget.long_clips),
        *("--long-frames", budget.long_frames),
    )
    return Task(
        f"{variant}.seed{seed}.benchmark",
        "benchmark",
        _text(*words),
        result.is_file,
        str(result),
        (f"{variant}.seed{seed}.fit", "classifier"),
    )


def _sweep(plan: Plan, layout: Layout, sweep: Sweep, seed: int) -> Task:
    folder = layout.run(sweep.variant, seed)
    results = [folder / f"{sweep.name}_{value}" / RESULT for value in sweep.values]
    words = (
        *("evaluation.studies.sweep", *_model(layout, sweep.variant, seed), "--out", folder),
        *("--clips", plan.budget.sweep_clips, "--name", sweep.name),
        *("--setting", sweep.setting, "--values", *sweep.values),
    )
    return Task(
        f"{sweep.variant}.seed{seed}.{sweep.name}",
        "sweep",
        _text(*words),
        lambda: all(result.is_file() for result in results),
        f"every {folder / sweep.name}_*/{RESULT}",
        (f"{sweep.variant}.seed{seed}.fit", "classifier"),
    )


def _model(layout: Layout, variant: str, seed: int) -> tuple[object, ...]:
    checkpoint = layout.checkpoint(variant, seed)
    return ("--checkpoint", checkpoint, "--classifier", layout.classifier)


def _trained(checkpoint: Path, steps: int) -> bool:
    """Whether a training has reached its last step."""
    from lightning_artv.checkpoints.file import read_checkpoint

    if not checkpoint.is_file():
        return False
    try:
        return int(read_checkpoint(checkpoint)["global_step"]) >= steps
    except UserError:
        return False  # the training says what is wrong with it


def _text(*words: object) -> tuple[str, ...]:
    return tuple(str(word) for word in words)
