"""The grid in TensorBoard: a run a variant and seed, and one a variant with the means."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from evaluation.ablations import figures
from evaluation.ablations.pictures import SideBySide, mask_pictures
from evaluation.ablations.reading import BySeed, Grid, Numbers, Run, values
from evaluation.shapes.metrics_table import METRICS
from lightning_artv.checkpoints.earlier import run_settings
from lightning_artv.figures import Animation
from lightning_artv.media.atomic import writing_to
from lightning_artv.media.tensorboard import write_figures

SHOWN_FRAMES = 64
HPARAM_METRICS = (
    *("background_psnr@127", "drift_background_psnr", "direction@128", "FVD", "FVD@128", "IS"),
    *("background_psnr@15", "direction@16", "psnr@15"),
)
LAYOUT = {
    "Drift: all variants": [*(f"curves/{name}" for name in figures.CURVES), "curves/direction"],
    "Noise level at test time (Fig. 8b)": [f"t_test/{m}" for m in figures.SWEEP_METRICS],
    "Mask by denoising step (Fig. 4)": ["mask/mean"],
}


def write_board(grid: Grid, clips: SideBySide | None, text: str, folder: Path) -> None:
    """Write the event files anew; what was in the folder is replaced at the end.

    Args:
        grid: what was measured.
        clips: for Fig. 10.
        text: Markdown for the Text tab.
        folder: TensorBoard's log directory.

    Raises:
        UserError: it cannot be written.
    """
    with writing_to(folder), _replacing(folder) as fresh:
        _write_root(grid, clips, text, fresh)
        masks = mask_pictures(grid)
        for variant, runs in grid.variants.items():
            for seed, run in runs.items():
                with SummaryWriter(str(fresh / variant / f"seed{seed}")) as writer:
                    _write_session(writer, run, settings(grid, variant, seed))
                    _write_curves(writer, run.curves)
                    _write_mask(writer, run)
                    if variant == grid.swept_on("t_test"):
                        _write_t_test(writer, grid, [seed])
            with SummaryWriter(str(fresh / variant)) as writer:
                _write_means(writer, runs)
                if variant == grid.swept_on("t_test"):
                    _write_t_test(writer, grid, list(runs))
                if variant in masks:
                    large = masks[variant].repeat(3, axis=0).repeat(3, axis=1)
                    writer.add_image("fig9/masks", large, dataformats="HWC")


def settings(grid: Grid, variant: str, seed: int) -> dict[str, str | float]:
    """A run's hyperparameters, from the configuration that it was trained with.

    A setting that the configuration does not hold, or all where it is gone, is left out.
    """
    config = run_settings(grid.config(variant, seed))
    arguments = config.get("model", {}).get("system", {}).get("init_args", {})
    system = {**arguments.get("denoiser", {}), **arguments.get("training", {})}
    windows = (config.get("data", {}).get("windows") or {}).get("init_args", {})
    found: dict[str, str | float | None] = {"variant": variant, "seed": seed}
    form = system.get("static_noise")
    if form is not None:
        found |= {"mask": "no" if form == "none" else "yes", "static_noise": form}
    if "use_anchor" in system:
        found["anchor"] = "yes" if system["use_anchor"] else "no"
    found["anchor_window"] = windows.get("anchor_window")
    found["mask_channels"] = system.get("mask_channels")
    found["T_max"] = system.get("max_noise_level")
    found["reference_noise"] = system.get("reference_noise")
    found["own_references"] = system.get("own_references")
    return {name: value for name, value in found.items() if value is not None}


def _write_root(grid: Grid, clips: SideBySide | None, text: str, folder: Path) -> None:
    """What belongs to no variant: the layout, the claims, the charts, Fig. 10."""
    with SummaryWriter(str(folder)) as writer:
        writer.add_custom_scalars(
            {
                category: {tag: ["Multiline", [f"^{tag}$"]] for tag in tags}
                for category, tags in LAYOUT.items()
            }
        )
        writer.add_text("claims", text)
        charts = {
            **{f"drift/{name}": chart for name, chart in figures.drift_curves(grid).items()},
            **{f"fig4/{name}": chart for name, chart in figures.mask_charts(grid).items()},
            **{f"fig8a/{name}": chart for name, chart in figures.bar_charts(grid).items()},
            **figures.sweep_charts(grid),
        }
        for tag, chart in charts.items():
            writer.add_image(tag, chart.pixels(), dataformats="HWC")
        if clips is not None:
            scale = max(1, 64 // clips.rows[0].shape[1])
            gif = clips.gif(SHOWN_FRAMES, labels=True, scale=scale)
            write_figures(writer, {"fig10/clips": Animation(gif)})
            strip = clips.strip(labels=True, scale=scale)
            writer.add_image("fig10/frames", strip, dataformats="HWC")


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


def _write_mask(writer: SummaryWriter, run: Run) -> None:
    """Fig. 4 by denoising step: the mean, and the distribution."""
    if run.mask is None:
        return
    for step, (mean, counts) in enumerate(
        zip(run.mask["mean"], run.mask["histogram"], strict=True)
    ):
        writer.add_scalar("mask/mean", mean, step)
        edges = np.linspace(0, 1, len(counts) + 1)
        middle = (edges[:-1] + edges[1:]) / 2
        writer.add_histogram_raw(
            "mask/values",
            min=0.0,
            max=1.0,
            num=counts.sum(),
            sum=(counts * middle).sum(),
            sum_squares=(counts * middle**2).sum(),
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
            global_step=step,
        )


def _write_means(writer: SummaryWriter, runs: BySeed) -> None:
    """Means over the seeds, under the same names as each seed's values."""
    names = dict.fromkeys(name for run in runs.values() for name in run.curves)
    _write_curves(writer, {name: figures.mean_and_sd(runs, name)[0] for name in names})
    for metric in METRICS:
        if found := values(runs, metric):
            writer.add_scalar(f"metrics/{metric}", float(np.mean(list(found.values()))), 0)
    masks = [run.mask["mean"] for run in runs.values() if run.mask is not None]
    for step, mean in enumerate(np.mean(masks, axis=0) if masks else []):
        writer.add_scalar("mask/mean", mean, step)


def _write_t_test(writer: SummaryWriter, grid: Grid, seeds: list[int]) -> None:
    """Fig. 8b, the noise level as the step."""
    for level, runs in grid.sweeps.get("t_test", {}).items():
        kept = {seed: run for seed, run in runs.items() if seed in seeds}
        for metric in figures.SWEEP_METRICS:
            if found := values(kept, metric):
                mean = float(np.mean(list(found.values())))
                writer.add_scalar(f"t_test/{metric}", mean, int(level))


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
