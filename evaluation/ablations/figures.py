"""The paper's figures as charts of what was measured here."""

from __future__ import annotations

import numpy as np

from evaluation.ablations.arms import metric_title
from evaluation.ablations.reading import BySeed, Grid, Numbers, Run, values, with_unguided
from evaluation.shapes.metrics_table import FLAT, METRICS
from lightning_artv.pages.chart import Chart, Line, bars, curves, heat

BAR_METRICS = (
    *("FVD", "FVD@128", "background_psnr@127", "drift_background_psnr"),
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
SWEEP_METRICS = ("FVD", "IS", "background_psnr@15", "direction@16")
TRUTH, GREY = "truth", "#888888"
PERCENT = ("share", "of full range")


def drift_curves(grid: Grid) -> dict[str, Chart]:
    """Curve -> all variants' means by frame, with bands of one sd over the seeds."""
    charts = {}
    for name, (title, _) in CURVES.items():
        found = {v: mean_and_sd(runs, name) for v, runs in grid.variants.items()}
        lines = {
            grid.titles[v]: Line(mean[1:], sd[1:]) for v, (mean, sd) in found.items() if len(mean)
        }
        longest = max((len(np.asarray(line.y)) for line in lines.values()), default=0)
        lines = {n: line for n, line in lines.items() if len(np.asarray(line.y)) == longest}
        if longest:
            run, known = any_run(grid), TRUTH
            other = run.truth
            if "psnr" in name:  # a still comes round with every pan: its curve has spikes
                other, known = run.baselines[FLAT], FLAT
            lines[known] = Line(other.curves[name][1:], color=GREY)
            charts[name] = curves(title, range(1, longest + 1), lines, "frame")
    return charts


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


def mask_charts(grid: Grid) -> dict[str, Chart]:
    """Variant -> Fig. 4: its mask's distribution and mean by step, over all seeds."""
    charts = {}
    for variant, runs in grid.variants.items():
        masks = [run.mask for run in runs.values() if run.mask is not None]
        if masks:
            charts[variant] = heat(
                f"mask values, {grid.titles[variant]}",
                np.sum([mask["histogram"] for mask in masks], axis=0),
                np.mean([mask["mean"] for mask in masks], axis=0),
                masks[0]["timesteps"].tolist(),
                "t of the denoising step (the last step is right)",
            )
    return charts


def bar_charts(grid: Grid) -> dict[str, Chart]:
    """Metric -> Fig. 8a: a bar a variant."""
    charts = {}
    for metric in BAR_METRICS:
        found = {grid.titles[v]: values(runs, metric) for v, runs in grid.variants.items()}
        scale = 100 if METRICS[metric].unit in PERCENT else 1
        bar = {n: [scale * v for v in by_seed.values()] for n, by_seed in found.items() if by_seed}
        if bar:
            charts[metric] = bars(_title(metric), bar)
    return charts


def sweep_charts(grid: Grid) -> dict[str, Chart]:
    """`fig8b/metric` and `guidance/condition/metric` -> the metric by the sweep's value."""
    charts = {}
    for sweep in grid.sweeps:
        levels, model = with_unguided(grid, sweep), grid.swept_on(sweep)
        for metric in SWEEP_METRICS:
            found = {v: list(values(runs, metric).values()) for v, runs in levels.items()}
            found = {v: cells for v, cells in found.items() if cells}
            if len(found) < 2:
                continue
            scale = 100 if METRICS[metric].unit in PERCENT else 1
            means = [scale * float(np.mean(cells)) for cells in found.values()]
            sds = [scale * float(np.std(c, ddof=1)) if len(c) > 1 else 0.0 for c in found.values()]
            by = sweep.replace("guidance_", "guidance of ")
            title = f"{_title(metric)}, by {by} ({grid.titles.get(model, model)})"
            label = "t_test" if sweep == "t_test" else "weight"
            lines = {grid.titles.get(model, model): Line(means, sds)}
            group = "fig8b" if sweep == "t_test" else sweep.replace("_", "/", 1)
            charts[f"{group}/{metric}"] = curves(title, list(found), lines, label, dots=True)
    return charts


def _title(metric: str) -> str:
    unit = METRICS[metric].unit
    better = "↑" if METRICS[metric].higher_is_better else "↓"
    suffix = ", %" if unit in PERCENT else f", {unit}" if unit else ""
    return f"{metric_title(metric)}{suffix} {better}"
