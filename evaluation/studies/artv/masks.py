"""What the masks of a study's runs look like: Fig. 4 and Fig. 9."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.studies.grid import BySeed, Grid, Numbers, Run, numbers
from lightning_artv.pages.chart import Chart, heat

FIG4 = (
    "Blue: how often each value occurs (darker: more often); red: the mean. 1 copies the frame "
    "before, 0 draws. What a mask\nof 1 copies depends on the form of the static noise: see "
    "<code>docs/method.md</code>."
)
FIG9 = (
    "The masks of frame 4, a row per clip, from the first denoising step (left) to the last; white "
    "copies the frame before,\nblack draws."
)


def mask_of(run: Run) -> dict[str, Numbers] | None:
    """`timesteps` and `mean` `[steps]`, `histogram` `[steps, bins]`; None without a mask."""
    mask = run.content.get("mask")
    return None if mask is None else {name: numbers(cells) for name, cells in mask.items()}


def masks_of(runs: BySeed) -> dict[int, dict[str, Numbers]]:
    """The same by seed, where there is one."""
    return {seed: mask for seed, run in runs.items() if (mask := mask_of(run)) is not None}


def mask_charts(grid: Grid) -> dict[str, Chart]:
    """Variant -> its mask's distribution and mean by step, over all seeds."""
    charts = {}
    for variant, runs in grid.variants.items():
        masks = list(masks_of(runs).values())
        if masks:
            charts[variant] = heat(
                f"mask values, {grid.titles[variant]}",
                np.sum([mask["histogram"] for mask in masks], axis=0),
                np.mean([mask["mean"] for mask in masks], axis=0),
                masks[0]["timesteps"].tolist(),
                "t of the denoising step (the last step is right)",
            )
    return charts


def mask_pictures(grid: Grid) -> dict[str, NDArray[np.uint8]]:
    """Variant -> its masks of one frame: a row per clip, a column per denoising step, white copies.

    Returns:
        uint8 `[H, W, 3]` each, of the first seed with samples; variants without a mask left out.
    """
    kept = {
        v: [r.samples().get("masks") for r in runs.values()] for v, runs in grid.variants.items()
    }
    first = {v: next((m for m in masks if m is not None), None) for v, masks in kept.items()}
    return {
        variant: np.concatenate([_mask_row(masks[:, k]) for k in range(masks.shape[1])])
        for variant, masks in first.items()
        if masks is not None
    }


def _mask_row(masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import torch

    from lightning_artv.systems.artv.figures import strip

    return strip([torch.from_numpy(mask / 255.0) for mask in masks], scale=1)
