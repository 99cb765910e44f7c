"""A plan's tasks: each one command, a result whose existence says that it is done, and what it
needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.ablations.plan import BASE, Plan, Sweep, Variant, overlay
from lightning_artv.errors import UserError

TRAIN_SEED, HELDOUT_SEED = 0, 1


@dataclass(frozen=True)
class Task:
    """One process.

    Attributes:
        name: of the task and of its log.
        kind: tasks of one kind take about as long.
        arguments: of `python -m`.
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
    measured before the second seed begins, and the many short sweeps come last, where they fill
    what the long trainings leave of the cores.
    """
    layout = Layout(out)
    tasks = [*_data(plan, layout), _classifier(layout)]
    for seed in plan.seeds:
        for variant in plan.variants:
            tasks += [_fit(plan, layout, variant, seed), _benchmark(plan, layout, variant, seed)]
    for seed in plan.seeds:
        for sweep in plan.sweeps:
            tasks += _sweep(plan, layout, sweep, seed)
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
        options = ("--split", split, "--overwrite")
        command = _text("data_prep", *words, *options)
        yield Task(f"shards.{split}", "shards", command, folder.is_dir, str(folder))


def _classifier(layout: Layout) -> Task:
    file = layout.classifier
    command = _text("evaluation", "shapes-classifier", "--out", file)
    return Task("classifier", "classifier", command, file.is_file, str(file))


def _fit(plan: Plan, layout: Layout, variant: Variant, seed: int) -> Task:
    checkpoint = layout.checkpoint(variant.name, seed)
    words: list[object] = ["lightning_artv", "fit", "--config", plan.config]
    if variant.name != BASE:
        words += ["--config", overlay(variant.name)]
    words += [
        *(f"--{key}={seed}" for key in ("seed_everything", "model.seed", "data.seed")),
        *(
            f"--data.{key}={layout.shards(s)}"
            for key, s in (("train", "train"), ("val", "heldout"))
        ),
        f"--trainer.max_steps={plan.budget.steps}",
        f"--trainer.default_root_dir={layout.run(variant.name, seed)}",
    ]
    if checkpoint.is_file():
        words.append(f"--ckpt_path={checkpoint}")
    return Task(
        f"{variant.name}.seed{seed}.fit",
        "fit",
        _text(*words),
        lambda: _trained(checkpoint, plan.budget.steps),
        f"step {plan.budget.steps} in {checkpoint}",
        ("shards.train", "shards.heldout"),
    )


def _benchmark(plan: Plan, layout: Layout, variant: Variant, seed: int) -> Task:
    budget = plan.budget
    options = (
        *("--clips", budget.clips, "--long-clips", budget.long_clips),
        *("--long-frames", budget.long_frames),
    )
    return _measured(layout, variant.name, seed, "benchmark", "benchmark", options)


def _sweep(plan: Plan, layout: Layout, sweep: Sweep, seed: int) -> Iterator[Task]:
    option = f"--{sweep.setting.replace('.', '-').replace('_', '-')}"
    for value in sweep.values:
        options = ("--clips", plan.budget.sweep_clips, "--long-clips", 0, option, value)
        yield _measured(layout, BASE, seed, f"{sweep.name}_{value}", "sweep", options)


def _measured(
    layout: Layout, variant: str, seed: int, name: str, kind: str, options: Sequence[object]
) -> Task:
    """`evaluation shapes` on a checkpoint; it writes `result.json` last."""
    folder = layout.run(variant, seed) / name
    result = folder / "result.json"
    files = ("--checkpoint", layout.checkpoint(variant, seed), "--classifier", layout.classifier)
    return Task(
        f"{variant}.seed{seed}.{name}",
        kind,
        _text("evaluation", "shapes", *files, "--out", folder, *options),
        result.is_file,
        str(result),
        (f"{variant}.seed{seed}.fit", "classifier"),
    )


def _trained(checkpoint: Path, steps: int) -> bool:
    """Whether a training has reached its last step."""
    from lightning_artv.training.checkpoint import read_checkpoint

    if not checkpoint.is_file():
        return False
    try:
        return int(read_checkpoint(checkpoint)["global_step"]) >= steps
    except UserError:
        return False  # the training says what is wrong with it


def _text(*words: object) -> tuple[str, ...]:
    return tuple(str(word) for word in words)
