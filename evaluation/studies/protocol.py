"""What a reader needs to repeat the numbers, and what limits them."""

from __future__ import annotations

import json
from typing import Any

from evaluation.studies.grid import Grid
from evaluation.studies.study import BASE, DEFAULT


def protocol_rows(grid: Grid, machine: str | None = None) -> list[tuple[str, str]]:
    """Rows of text: command, seeds, steps, clips, classifier, machine, seconds, limits."""
    plan = grid.plan
    run = next(run for runs in grid.variants.values() for run in runs.values())
    protocol, sampling = run.protocol, _base_sampling(grid)
    command = f"make ablations BUDGET={str(plan['budget']).rstrip('*')}"
    command += f" ARGS='--study {plan['study']}'" if plan["study"] != DEFAULT else ""
    rows = [
        ("command", command),
        ("budget", _budget(plan)),
        ("trainings", f"{len(grid.variants)} variants × seeds {_list(plan['seeds'])}"),
        ("training steps", _steps(grid)),
        ("clips", _clips(protocol)),
        ("generation (base)", _settings(sampling)),
        (
            "fairness",
            f"the same held-out worlds (seed {protocol['data_seed']}) and the same noise for each "
            f"clip (seed {protocol['noise_seed']}) in every variant and seed",
        ),
        ("classifier of FVD, IS, KVD", _classifier(protocol["classifier"])),
        (
            "sweeps",
            "; ".join(
                f"{s['name']} on {grid.swept_on(s['name'])}: {_list(s['values'])}"
                for s in plan["sweeps"]
            )
            or "none",
        ),
    ]
    rows += [("machine", machine)] if machine else []
    rows += [("time", _time(grid))]
    rows += [
        (
            "limits",
            "pictures of 32×32 pixels made by a program and models of a few million parameters at "
            "most: what holds here need not hold at the paper's size; distances are of our own "
            "classifier and compare with no published number",
        )
    ]
    return rows


def _steps(grid: Grid) -> str:
    """As many as there are, and what weights they start from."""
    variant, runs = next(iter(grid.variants.items()))
    model = grid.config(variant, next(iter(runs))).get("model") or {}
    start = model.get("init_from")
    return f"{grid.plan['steps']} for each variant" + (
        f", from those weights of {start} that it has" if start else ""
    )


def _budget(plan: Any) -> str:
    numbers = ("train_worlds", "clips", "long_clips", "long_frames", "sweep_clips")
    known = [f"{plan[name]} {name.replace('_', ' ')}" for name in numbers if name in plan]
    return f"{plan['budget']}: {', '.join(known)}" if known else str(plan["budget"])


def _clips(protocol: Any) -> str:
    return (
        f"{protocol['clips']} held-out worlds of {protocol['frames']} frames, the first "
        f"{protocol['long_clips']} of them for {protocol['long_frames']} frames; the first frame "
        "and the caption are given"
    )


def _classifier(classifier: Any) -> str:
    accuracy = ", ".join(f"{name} {value:.1%}" for name, value in classifier["accuracy"].items())
    return f"sha256 {classifier['sha256'][:12]}; held-out accuracy: {accuracy}"


def _base_sampling(grid: Grid) -> Any:
    runs = grid.variants.get(BASE) or next(iter(grid.variants.values()))
    return next(iter(runs.values())).protocol["sampling"]


def _settings(sampling: Any) -> str:
    parts = []
    for name, value in ((k, v) for k, v in sampling.items() if v is not None):
        shown = (
            ", ".join(f"{k} {v:g}" for k, v in value.items()) if isinstance(value, dict) else value
        )
        parts.append(f"{name.replace('_', ' ')} {shown}")
    return "; ".join(parts)


def _time(grid: Grid) -> str:
    path = grid.out / "timing.json"
    if not path.is_file():
        return "not recorded"
    kinds: dict[str, float] = {}
    for task, seconds in json.loads(path.read_text(encoding="utf-8")).items():
        end = task.rsplit(".", 1)[-1]
        kind = "trainings" if end == "fit" else "benchmarks" if end == "benchmark" else "all else"
        kinds[kind] = kinds.get(kind, 0.0) + seconds
    parts = [f"{kind} {seconds / 60:.0f}" for kind, seconds in kinds.items()]
    return f"minutes of single processes: {', '.join(parts)}, {sum(kinds.values()) / 60:.0f} in all"


def _list(values: Any) -> str:
    return ", ".join(f"{value:g}" for value in values)
