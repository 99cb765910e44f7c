"""The results of a study, read from its folder."""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evaluation.studies.plan import PLAN, read_plan
from evaluation.studies.study import BASE, DEFAULT, Study, find_study
from evaluation.studies.tasks import RESULT, Layout
from lightning_artv.errors import UserError
from lightning_artv.files import read_yaml

SAME_CLIPS = ("data_seed", "noise_seed")
COMPARABLE = ("clips", "frames", "long_clips", "long_frames", *SAME_CLIPS)
"""Settings of the benchmark that must agree before two numbers are compared."""

Numbers: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Reached:
    """`metrics` and `curves`, as in `Run`."""

    metrics: Mapping[str, float]
    curves: Mapping[str, Numbers]


@dataclass(frozen=True)
class Run:
    """What the benchmark measured of one checkpoint under one setting.

    Attributes:
        folder: folder of `result.json`.
        metrics: name -> mean over clips; only what was measured.
        per_clip: name -> one number per clip `[N]`, NaN where it does not apply.
        curves: name -> one number per frame or window, NaN where it does not apply.
        truth: what the true videos reach.
        baselines: name -> what clips that take no model reach.
        content: all that `result.json` holds, for what only some systems record.
    """

    folder: Path
    metrics: Mapping[str, float]
    per_clip: Mapping[str, Numbers]
    curves: Mapping[str, Numbers]
    truth: Reached
    baselines: Mapping[str, Reached]
    content: Mapping[str, Any]

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Clips, frames, seeds, settings of generation and the classifier."""
        return dict(self.content["protocol"])

    def first(self, clips: int) -> Run:
        """The same for the first clips only: what the distances over sets lack is left out."""
        per_clip = {name: cells[:clips] for name, cells in self.per_clip.items()}
        known = {name: cells for name, cells in per_clip.items() if not np.isnan(cells).all()}
        metrics = {name: float(np.nanmean(cells)) for name, cells in known.items()}
        return dataclasses.replace(self, metrics=metrics, per_clip=per_clip)

    def samples(self) -> dict[str, NDArray[Any]]:
        """The pictures of `samples.npz`; empty where there are none."""
        path = self.folder / "samples.npz"
        if not path.is_file():
            return {}
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}


BySeed: TypeAlias = dict[int, Run]


@dataclass(frozen=True)
class Grid:
    """All results of a study.

    Attributes:
        study: whose.
        out: its folder.
        plan: what was to be run: `budget`, `steps`, `seeds`, `variants`, `sweeps`.
        variants: name -> seed -> run, in the plan's order; a variant without a run is left out.
        sweeps: name -> value -> seed -> run, on the trained variant that the plan says; values in
            rising order.
        missing: results that the plan names and that are not there, relative to `out`.
    """

    study: Study
    out: Path
    plan: Mapping[str, Any]
    variants: Mapping[str, BySeed]
    sweeps: Mapping[str, Mapping[float, BySeed]]
    missing: tuple[str, ...]

    @property
    def titles(self) -> dict[str, str]:
        """Variant -> what a reader calls it."""
        return {v["name"]: v["title"] for v in self.plan["variants"]}

    def swept_on(self, sweep: str) -> str:
        """The variant whose trained model a sweep was run on."""
        return str(self._sweep(sweep).get("variant", BASE))

    def _sweep(self, name: str) -> Mapping[str, Any]:
        return next((dict(s) for s in self.plan["sweeps"] if s["name"] == name), {})

    def levels(self, sweep: str) -> dict[float, BySeed]:
        """A sweep's runs in rising order; with value 0 where its model is generated with it anyway.

        That is the model's own benchmark, on as many of its clips as the sweep has, less the
        distances over sets.
        """
        levels = dict(self.sweeps.get(sweep, {}))
        if levels and 0 not in levels and self.study.axes[sweep].zero_is_benchmark:
            clips = next(r.protocol["clips"] for runs in levels.values() for r in runs.values())
            keys = str(self._sweep(sweep)["setting"]).split(".")
            levels[0] = {
                seed: run.first(clips)
                for seed, run in self.variants.get(self.swept_on(sweep), {}).items()
                if not functools.reduce(operator.getitem, keys, run.protocol["sampling"])
            }
        return {value: levels[value] for value in sorted(levels) if levels[value]}

    def config(self, variant: str, seed: int) -> dict[str, Any]:
        """The resolved configuration that a variant was trained with; empty where it is gone.

        Raises:
            UserError: it is damaged.
        """
        folder = Layout(self.out).run(variant, seed)
        for path in (folder / "config.yaml", folder / "tensorboard" / "config.yaml"):
            content = read_yaml(path, "configuration") if path.is_file() else None
            if content:  # an empty one is of a run that was killed while it wrote it
                return dict(content)
        return {}


def values(runs: BySeed, metric: str) -> dict[int, float]:
    """A metric by seed, where it was measured."""
    return {seed: run.metrics[metric] for seed, run in runs.items() if metric in run.metrics}


def read_grid(out: Path, study: Study | None = None) -> Grid:
    """Read `plan.json` and every result that is there.

    Args:
        out: folder that `ablations` wrote.
        study: whose results they must be; None for the study of `DEFAULT`.

    Raises:
        UserError: no plan, no result, a damaged file, another study's results, or results that do
            not compare.
    """
    if not (out / PLAN).is_file():
        raise UserError(f"{out} holds no {PLAN}: run `make ablations OUT={out}` first.")
    plan, study = read_plan(out / PLAN), study or find_study(DEFAULT)
    if plan["study"] != study.name:
        raise UserError(f"{out} holds the study {plan['study']}: name its module with --study.")
    missing: list[str] = []

    def found(variant: str, folder: str) -> BySeed:
        paths = {seed: Layout(out).run(variant, seed) / folder / RESULT for seed in plan["seeds"]}
        missing.extend(str(p.relative_to(out)) for p in paths.values() if not p.is_file())
        return {seed: read_run(path) for seed, path in paths.items() if path.is_file()}

    variants = {v["name"]: found(v["name"], "benchmark") for v in plan["variants"]}
    sweeps = {
        s["name"]: {
            v: found(s.get("variant", BASE), f"{s['name']}_{v}") for v in sorted(s["values"])
        }
        for s in plan["sweeps"]
    }
    variants = {name: runs for name, runs in variants.items() if runs}
    if not variants:
        raise UserError(f"{out} holds no result yet: run `make ablations OUT={out}` first.")
    sweeps = {name: {v: runs for v, runs in by.items() if runs} for name, by in sweeps.items()}
    full = [run for runs in variants.values() for run in runs.values()]
    _check_comparable(full, COMPARABLE)
    for levels in sweeps.values():
        swept = [run for runs in levels.values() for run in runs.values()]
        _check_comparable(swept, COMPARABLE)
        _check_comparable([full[0], *swept[:1]], SAME_CLIPS)
    return Grid(study, out, plan, variants, sweeps, tuple(missing))


def read_run(path: Path) -> Run:
    """One `result.json`.

    Raises:
        UserError: a damaged file.
    """
    content = _json(path)
    try:
        content["protocol"]["clips"], content["seconds"], content["checkpoint"]
        return Run(
            folder=path.parent,
            metrics=_measured(content["metrics"]),
            per_clip={k: numbers(v) for k, v in content["per_clip"].items()},
            curves=_curves(content["curves"]),
            truth=_reached(content["truth"]),
            baselines={k: _reached(v) for k, v in content["baselines"].items()},
            content=content,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is a damaged result ({error}): delete it and run `make ablations` again."
        ) from error


def _measured(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if value is not None}


def _reached(content: Mapping[str, Any]) -> Reached:
    return Reached(_measured(content["metrics"]), _curves(content["curves"]))


def _curves(curves: Mapping[str, Any]) -> dict[str, Numbers]:
    return {name: numbers(cells) for name, cells in curves.items()}


def numbers(cells: Any) -> Numbers:
    """A list of numbers, null as NaN."""
    return np.array(cells, np.float64)


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(f"{path} is not json: delete it and run `make ablations` again.") from error


def _check_comparable(runs: list[Run], names: Sequence[str]) -> None:
    """Raises:
    UserError: results of other clips, noise or classifiers; it names the field and the files.
    """

    def settings(run: Run) -> dict[str, Any]:
        classifier = run.protocol["classifier"]["sha256"]
        return {**{k: run.protocol[k] for k in names}, "classifier": classifier}

    for run in runs[1:]:
        ours, theirs = settings(runs[0]), settings(run)
        for name in (name for name in ours if ours[name] != theirs[name]):
            raise UserError(
                f"{run.folder} and {runs[0].folder} do not compare, for their {name} differs "
                f"({theirs[name]} and {ours[name]}): delete the older one and run again."
            )
