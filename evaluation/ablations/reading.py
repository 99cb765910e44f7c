"""The results of a grid of runs, read from its folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import yaml
from numpy.typing import NDArray

from evaluation.ablations.plan import BASE
from evaluation.ablations.plan_file import PLAN, read_plan
from lightning_artv.errors import UserError

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
        folder: of `result.json`.
        metrics: name -> mean over clips; only what was measured.
        per_clip: name -> one number a clip `[N]`, NaN where it does not apply.
        curves: name -> one number a frame or window, NaN where it does not apply.
        truth: what the true videos reach.
        baselines: name -> what clips that take no model reach.
        mask: `timesteps` and `mean` `[steps]`, `histogram` `[steps, bins]`; None without a mask.
        protocol, checkpoint, seconds: as recorded.
    """

    folder: Path
    metrics: Mapping[str, float]
    per_clip: Mapping[str, Numbers]
    curves: Mapping[str, Numbers]
    truth: Reached
    baselines: Mapping[str, Reached]
    mask: Mapping[str, Numbers] | None
    protocol: Mapping[str, Any]
    checkpoint: Mapping[str, Any]
    seconds: Mapping[str, float]

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
    """All results of an ablation.

    Attributes:
        out: its folder.
        plan: what was to be run: `budget`, `steps`, `seeds`, `variants`, `sweeps`.
        variants: name -> seed -> run, in the plan's order; a variant without a run is left out.
        sweeps: name -> value -> seed -> run, on the trained variant that the plan says; values in
            rising order.
        missing: results that the plan names and that are not there, relative to `out`.
    """

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
        return next(
            (str(s.get("variant", BASE)) for s in self.plan["sweeps"] if s["name"] == sweep), BASE
        )

    def run_folder(self, variant: str, seed: int) -> Path:
        """Where a variant was trained."""
        return self.out / "runs" / variant / f"seed{seed}"

    def config(self, variant: str, seed: int) -> dict[str, Any]:
        """The resolved configuration that a variant was trained with; empty where it is gone."""
        folder = self.run_folder(variant, seed)
        for path in (folder / "config.yaml", folder / "tensorboard" / "config.yaml"):
            if path.is_file():
                return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        return {}


def values(runs: BySeed, metric: str) -> dict[int, float]:
    """A metric by seed, where it was measured."""
    return {seed: run.metrics[metric] for seed, run in runs.items() if metric in run.metrics}


def with_unguided(grid: Grid, sweep: str) -> dict[float, BySeed]:
    """A sweep's runs in rising order; one of guidance with weight 0 where its model has none.

    That is the model's own benchmark, on as many of its clips as the sweep has, less the distances
    over sets.
    """
    levels = dict(grid.sweeps.get(sweep, {}))
    condition = sweep.removeprefix("guidance_")
    if condition != sweep and levels and 0 not in levels:
        clips = next(r.protocol["clips"] for runs in levels.values() for r in runs.values())
        levels[0] = {
            seed: run.first(clips)
            for seed, run in grid.variants.get(grid.swept_on(sweep), {}).items()
            if not run.protocol["sampling"]["guidance"][condition]
        }
    return {value: levels[value] for value in sorted(levels) if levels[value]}


def read_grid(out: Path) -> Grid:
    """Read `plan.json` and every result that is there.

    Raises:
        UserError: no plan, no result, a damaged file, or results that do not compare.
    """
    if not (out / PLAN).is_file():
        raise UserError(f"{out} holds no {PLAN}: run `make ablations OUT={out}` first.")
    plan = read_plan(out / PLAN)
    seeds = plan["seeds"]
    missing: list[str] = []

    def found(variant: str, folder: str) -> BySeed:
        runs = {}
        for seed in seeds:
            path = Path("runs") / variant / f"seed{seed}" / folder / "result.json"
            if (out / path).is_file():
                runs[seed] = read_run(out / path)
            else:
                missing.append(str(path))
        return runs

    variants = {v["name"]: found(v["name"], "benchmark") for v in plan["variants"]}
    variants = {name: runs for name, runs in variants.items() if runs}
    sweeps: dict[str, dict[float, BySeed]] = {}
    for sweep in plan["sweeps"]:
        on = sweep.get("variant", BASE)
        levels = {v: found(on, f"{sweep['name']}_{v}") for v in sorted(sweep["values"])}
        sweeps[sweep["name"]] = {value: runs for value, runs in levels.items() if runs}
    if not variants:
        raise UserError(f"{out} holds no result yet: run `make ablations OUT={out}` first.")
    full = [run for runs in variants.values() for run in runs.values()]
    _check_comparable(full, COMPARABLE)
    for levels in sweeps.values():
        swept = [run for runs in levels.values() for run in runs.values()]
        _check_comparable(swept, COMPARABLE)
        _check_comparable([full[0], *swept[:1]], SAME_CLIPS)
    return Grid(out, plan, variants, sweeps, tuple(missing))


def read_run(path: Path) -> Run:
    """One `result.json`.

    Raises:
        UserError: a damaged file.
    """
    content = _json(path)
    try:
        mask = content["mask"]
        return Run(
            folder=path.parent,
            metrics=_measured(content["metrics"]),
            per_clip={k: _numbers(v) for k, v in content["per_clip"].items()},
            curves=_curves(content["curves"]),
            truth=_reached(content["truth"]),
            baselines={k: _reached(v) for k, v in content["baselines"].items()},
            mask=None if mask is None else {k: _numbers(v) for k, v in mask.items()},
            protocol=content["protocol"],
            checkpoint=content["checkpoint"],
            seconds=content["seconds"],
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
    return {name: _numbers(cells) for name, cells in curves.items()}


def _numbers(cells: Any) -> Numbers:
    """Numbers with null as NaN."""
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
