"""The grid in TensorBoard: a run per variant and seed, and one per variant with the means."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from evaluation.shapes.metrics_table import METRICS
from evaluation.studies import figures
from evaluation.studies.grid import BySeed, Grid, Numbers, Run, values
from evaluation.studies.pictures import SideBySide
from lightning_artv.checkpoints.earlier import run_settings
from lightning_artv.figures import Animation
from lightning_artv.media.atomic import writing_to
from lightning_artv.media.tensorboard import write_figures

SHOWN_FRAMES = 64
HPARAM_METRICS = (
    *("lasts", "identity", "background_psnr@127", "drift_background_psnr", "direction@128"),
    *("FVD", "FVD@128", "IS"),
    *("background_psnr@15", "direction@16", "psnr@15"),
)


def write_board(grid: Grid, clips: SideBySide | None, text: str, folder: Path) -> None:
    """Write the event files anew; what was in the folder is replaced at the end.

    Args:
        grid: what was measured.
        clips: clips side by side; None for none.
        text: Markdown for the Text tab.
        folder: TensorBoard's log directory.

    Raises:
        UserError: it cannot be written.
    """
    swept = {s: grid.swept_on(s) for s in grid.sweeps if grid.study.axes[s].scalars}
    with writing_to(folder), _replacing(folder) as fresh:
        _write_root(grid, clips, text, fresh)
        pictures = grid.study.pictures(grid)
        for variant, runs in grid.variants.items():
            mine = [sweep for sweep, model in swept.items() if model == variant]
            for seed, run in runs.items():
                with SummaryWriter(str(fresh / variant / f"seed{seed}")) as writer:
                    _write_session(writer, run, settings(grid, variant, seed))
                    _write_curves(writer, run.curves)
                    grid.study.record(writer, run)
                    _write_sweeps(writer, grid, mine, [seed])
            with SummaryWriter(str(fresh / variant)) as writer:
                _write_means(writer, runs)
                grid.study.record_means(writer, runs)
                _write_sweeps(writer, grid, mine, list(runs))
                for tag, picture in pictures.get(variant, {}).items():
                    writer.add_image(tag, picture, dataformats="HWC")


def settings(grid: Grid, variant: str, seed: int) -> dict[str, str | float]:
    """A run's hyperparameters, from the configuration that it was trained with.

    A setting that the configuration does not hold, or all where it is gone, is left out.
    """
    found = grid.study.hparams(run_settings(grid.config(variant, seed)))
    known = {name: value for name, value in found.items() if value is not None}
    return {"variant": variant, "seed": seed, **known}


def _layout(grid: Grid) -> dict[str, list[str]]:
    layout = {"Drift: all variants": [f"curves/{n}" for n in (*figures.CURVES, "direction")]}
    for name, axis in grid.study.axes.items():
        if axis.scalars:
            layout[axis.scalars] = [f"{name}/{metric}" for metric in figures.SWEEP_METRICS]
    return layout | grid.study.layout()


def _write_root(grid: Grid, clips: SideBySide | None, text: str, folder: Path) -> None:
    """What belongs to no variant: the layout, the claims, the charts, the clips."""
    study = grid.study
    with SummaryWriter(str(folder)) as writer:
        writer.add_custom_scalars(
            {
                category: {tag: ["Multiline", [f"^{tag}$"]] for tag in tags}
                for category, tags in _layout(grid).items()
            }
        )
        writer.add_text("claims", text)
        charts = {
            f"drift/{name}": chart
            for name, chart in (figures.drift_curves(grid) | figures.window_curves(grid)).items()
        }
        charts |= {f"{study.bars.tag}/{m}": c for m, c in figures.bar_charts(grid).items()}
        for swept in figures.sweep_charts(grid).values():
            charts |= swept
        for tag, chart in {**charts, **study.charts(grid)}.items():
            writer.add_image(tag, chart.pixels(), dataformats="HWC")
        if clips is not None:
            scale, group = max(1, 64 // clips.rows[0].shape[1]), study.clips.tag
            gif = clips.gif(SHOWN_FRAMES, labels=True, scale=scale)
            write_figures(writer, {f"{group}/clips": Animation(gif)})
            strip = clips.strip(labels=True, scale=scale)
            writer.add_image(f"{group}/frames", strip, dataformats="HWC")


def _write_session(writer: SummaryWriter, run: Run, found: dict[str, str | float]) -> None:
    """The HParams tab's row of this run, and all metrics as scalars."""
    shown = {f"metrics/{name}": run.metrics[name] for name in HPARAM_METRICS if name in run.metrics}
    for summary in hparams(found, shown):
        writer._get_file_writer().add_summary(summary)
    for name, value in run.metrics.items():
        writer.add_scalar(f"metrics/{name}", value, 0)


def _write_curves(writer: SummaryWriter, curves: Mapping[str, Numbers]) -> None:
    """By frame, less frame 0, which is given; by window of 16 frames at its first frame."""
    for name, line in curves.items():
        framewise = name in figures.CURVES
        for index in np.flatnonzero(np.isfinite(line)):
            if index or not framewise:
                step = int(index) * (1 if framewise else 16)
                writer.add_scalar(f"curves/{name}", line[index], step)


def _write_means(writer: SummaryWriter, runs: BySeed) -> None:
    """Means over the seeds, under the same names as each seed's values."""
    names = dict.fromkeys(name for run in runs.values() for name in run.curves)
    _write_curves(writer, {name: figures.mean_and_sd(runs, name)[0] for name in names})
    for metric in METRICS:
        if found := values(runs, metric):
            writer.add_scalar(f"metrics/{metric}", float(np.mean(list(found.values()))), 0)


def _write_sweeps(
    writer: SummaryWriter, grid: Grid, sweeps: Sequence[str], seeds: Sequence[int]
) -> None:
    """Metrics by a sweep's value, which is the step."""
    for sweep in sweeps:
        for level, runs in grid.sweeps[sweep].items():
            kept = {seed: run for seed, run in runs.items() if seed in seeds}
            for metric in figures.SWEEP_METRICS:
                if found := values(kept, metric):
                    mean = float(np.mean(list(found.values())))
                    writer.add_scalar(f"{sweep}/{metric}", mean, int(level))


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A fresh folder beside `folder` that takes its place at a successful end."""
    fresh, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{n}") for n in ("new", "old"))
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
