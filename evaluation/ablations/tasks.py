"""A plan's tasks: each one command, a result whose existence says that it is done, and what it
needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.ablations.plan import BASE, PRIOR, Plan, Sweep, Variant, overlay
from lightning_artv.errors import UserError

TRAIN_SEED, HELDOUT_SEED = 0, 1
PRIOR_SEED, PRIOR_PROCESSES = 0, 2
SHARDS = ("shards.train", "shards.heldout")
RESULT = "result.json"


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
        processes: that compute at the same time.
    """

    name: str
    kind: str
    arguments: tuple[str, ...]
    done: Callable[[], bool]
    result: str
    needs: tuple[str, ...] = ()
    processes: int = 1


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
    prior = [_prior(plan, layout)] if plan.budget.prior_steps else []
    tasks = [*_data(plan, layout), *prior, _classifier(layout)]
    for seed in plan.seeds:
        for variant in plan.variants:
            tasks += [_fit(plan, layout, variant, seed), _benchmark(plan, layout, variant, seed)]
    for seed in plan.seeds:
        for sweep in plan.sweeps:
            tasks.append(_sweep(plan, layout, sweep, seed))
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


def _prior(plan: Plan, layout: Layout) -> Task:
    """What all variants start from, as the paper's start from Stable Diffusion."""
    options = (f"--trainer.devices={PRIOR_PROCESSES}", "--trainer.strategy=ddp")
    steps = plan.budget.prior_steps
    return _training(plan, layout, PRIOR, PRIOR_SEED, steps, options, SHARDS, PRIOR_PROCESSES)


def _fit(plan: Plan, layout: Layout, variant: Variant, seed: int) -> Task:
    options: tuple[str, ...] = ()
    needs: tuple[str, ...] = SHARDS
    if plan.budget.prior_steps:
        options = (f"--model.init_from={layout.checkpoint(PRIOR, PRIOR_SEED)}",)
        needs = (f"{PRIOR}.seed{PRIOR_SEED}.fit",)
    return _training(plan, layout, variant.name, seed, plan.budget.steps, options, needs)


def _training(
    plan: Plan,
    layout: Layout,
    name: str,
    seed: int,
    steps: int,
    options: tuple[str, ...],
    needs: tuple[str, ...],
    processes: int = 1,
) -> Task:
    checkpoint = layout.checkpoint(name, seed)
    words: list[object] = ["lightning_artv", "fit", "--config", plan.config]
    if name != BASE:
        words += ["--config", overlay(name)]
    words += [
        *options,
        *(f"--{key}={seed}" for key in ("seed_everything", "model.seed", "data.seed")),
        *(
            f"--data.{key}={layout.shards(s)}"
            for key, s in (("train", "train"), ("val", "heldout"))
        ),
        f"--trainer.max_steps={steps}",
        f"--trainer.default_root_dir={layout.run(name, seed)}",
    ]
    if checkpoint.is_file():
        words.append(f"--ckpt_path={checkpoint}")
    return Task(
        f"{name}.seed{seed}.fit",
        PRIOR if name == PRIOR else "fit",
        _text(*words),
        lambda: _trained(checkpoint, steps),
        f"step {steps} in {checkpoint}",
        needs,
        processes,
    )


def _benchmark(plan: Plan, layout: Layout, variant: Variant, seed: int) -> Task:
    budget, folder = plan.budget, layout.run(variant.name, seed) / "benchmark"
    result = folder / RESULT
    words = (
        *("evaluation", "shapes", *_model(layout, variant.name, seed), "--out", folder),
        *("--clips", budget.clips, "--long-clips", budget.long_clips),
        *("--long-frames", budget.long_frames),
    )
    return Task(
        f"{variant.name}.seed{seed}.benchmark",
        "benchmark",
        _text(*words),
        result.is_file,
        str(result),
        (f"{variant.name}.seed{seed}.fit", "classifier"),
    )


def _sweep(plan: Plan, layout: Layout, sweep: Sweep, seed: int) -> Task:
    folder = layout.run(sweep.variant, seed)
    results = [folder / f"{sweep.name}_{value}" / RESULT for value in sweep.values]
    words = (
        *("evaluation.ablations.sweep", *_model(layout, sweep.variant, seed), "--out", folder),
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
