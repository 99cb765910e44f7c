"""Charts of what was measured of any system."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from evaluation.shapes.metrics_table import FLAT, METRICS
from evaluation.studies.findings import metric_title
from evaluation.studies.grid import BySeed, Grid, Numbers, Run, values
from lightning_artv.pages.chart import Chart, Line, bars, curves
from lightning_artv.synthetic.measures import WINDOW

BAR_METRICS = (
    *("lasts", "FVD", "FVD@128", "background_psnr@127", "drift_background_psnr"),
    *("direction@128", "direction@16"),
)
CURVES = {
    "background_psnr": ("background PSNR, dB", "dB"),
    "psnr": ("PSNR, dB", "dB"),
    "contrast": ("contrast", ""),
    "sharpness": ("sharpness", ""),
    "saturation": ("saturation", ""),
    "brightness": ("brightness", ""),
}
WINDOW_CURVES = {
    "FVD": "shapes-FVD",
    "color": "right colour, %",
    "shape": "right shape, %",
    "direction": "right direction, %",
}
SWEEP_METRICS = ("FVD", "IS", "background_psnr@15", "direction@16")
TRUTH, GREY = "truth", "#888888"
PERCENT = ("share", "of full range")


def drift_curves(grid: Grid) -> dict[str, Chart]:
    """Curve -> all variants' means by frame, with bands of one sd over the seeds."""
    charts = {}
    for name, (title, _) in CURVES.items():
        lines, length = _lines(grid, name, start=1)
        if length:
            run, known = any_run(grid), TRUTH
            other = run.truth
            if "psnr" in name:  # a still comes round with every pan: its curve has spikes
                other, known = run.baselines[FLAT], FLAT
            lines[known] = Line(other.curves[name][1:], color=GREY)
            charts[name] = curves(title, range(1, length + 1), lines, "frame")
    return charts


def window_curves(grid: Grid) -> dict[str, Chart]:
    """Curve -> all variants' means by window of the long clips, at its last frame."""
    charts = {}
    for name, title in WINDOW_CURVES.items():
        scale = 100 if title.endswith("%") else 1
        lines, length = _lines(grid, name, scale)
        if length > 1:
            true = any_run(grid).truth.curves.get(name)
            if true is not None:
                lines[TRUTH] = Line(scale * true, color=GREY)
            ends = [WINDOW * (i + 1) - 1 for i in range(length)]
            charts[f"{name} by window"] = curves(
                f"{title}, by window of 16 frames", ends, lines, "last frame"
            )
    return charts


def _lines(grid: Grid, curve: str, scale: float = 1, start: int = 0) -> tuple[dict[str, Line], int]:
    """Title -> a variant's mean and sd from `start` on, of the longest ones, and their length."""
    found = {v: mean_and_sd(runs, curve) for v, runs in grid.variants.items()}
    length = max((len(mean) for mean, _ in found.values()), default=0)
    lines = {
        grid.titles[v]: Line(scale * mean[start:], scale * sd[start:])
        for v, (mean, sd) in found.items()
        if len(mean) == length
    }
    return lines, max(0, length - start)


def any_run(grid: Grid) -> Run:
    """Any run that is as long as any: all have the same true videos and baselines."""
    runs = [run for by_seed in grid.variants.values() for run in by_seed.values()]
    return max(runs, key=lambda run: len(run.curves["psnr"]))


def mean_and_sd(runs: BySeed, curve: str) -> tuple[Numbers, Numbers]:
    """A curve over the seeds: mean and sd, `[frames]` each; empty where it was not measured."""
    found = [run.curves[curve] for run in runs.values() if curve in run.curves]
    if not found:
        return np.empty(0), np.empty(0)
    stacked = np.stack(found)
    sd = stacked.std(axis=0, ddof=1) if len(found) > 1 else np.zeros(stacked.shape[1])
    return stacked.mean(axis=0), sd


def bar_charts(grid: Grid) -> dict[str, Chart]:
    """Metric -> a bar per variant."""
    charts = {}
    for metric in BAR_METRICS:
        found = {grid.titles[v]: values(runs, metric) for v, runs in grid.variants.items()}
        scale = 100 if METRICS[metric].unit in PERCENT else 1
        bar = {n: [scale * v for v in by_seed.values()] for n, by_seed in found.items() if by_seed}
        if bar:
            charts[metric] = bars(_title(metric), bar)
    return charts


def sweep_charts(grid: Grid) -> dict[str, dict[str, Chart]]:
    """Sweep -> `group/metric` -> the metric by the sweep's value."""
    return {sweep: dict(_sweep_charts(grid, sweep)) for sweep in grid.sweeps}


def _sweep_charts(grid: Grid, sweep: str) -> Iterator[tuple[str, Chart]]:
    levels, axis = grid.levels(sweep), grid.study.axes[sweep]
    model = grid.titles.get(grid.swept_on(sweep), grid.swept_on(sweep))
    for metric in SWEEP_METRICS:
        found = {v: list(values(runs, metric).values()) for v, runs in levels.items()}
        found = {v: cells for v, cells in found.items() if cells}
        if len(found) < 2:
            continue
        scale = 100 if METRICS[metric].unit in PERCENT else 1
        means = [scale * float(np.mean(cells)) for cells in found.values()]
        sds = [scale * float(np.std(c, ddof=1)) if len(c) > 1 else 0.0 for c in found.values()]
        title = f"{_title(metric)}, by {axis.title} ({model})"
        lines = {model: Line(means, sds)}
        yield f"{axis.group}/{metric}", curves(title, list(found), lines, axis.label, dots=True)


def _title(metric: str) -> str:
    unit = METRICS[metric].unit
    better = "↑" if METRICS[metric].higher_is_better else "↓"
    suffix = ", %" if unit in PERCENT else f", {unit}" if unit else ""
    return f"{metric_title(metric)}{suffix} {better}"
