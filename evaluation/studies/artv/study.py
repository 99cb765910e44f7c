"""ART•V's study: what the paper's Sec. 4.2 claims, and ours; its masks by denoising step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.studies.artv.masks import FIG4, FIG9, mask_charts, mask_of, mask_pictures, masks_of
from evaluation.studies.budget import LONG, QUICK, Spending
from evaluation.studies.claims import BetterThanZero, Comparison, InteriorOptimum
from evaluation.studies.findings import Arm, Finding, seed_test
from evaluation.studies.grid import BySeed, Grid, Run
from evaluation.studies.significance import spearman
from evaluation.studies.study import BASE, Axis, Heading, Ranked, Section, Study
from lightning_artv.pages.chart import Chart

VARIANTS = (
    *(BASE, "no_mask", "no_anchor", "no_noise_augmentation", "noise_levels_550"),
    *("no_own_references", "static_residual", "static_literal", "reference_noise"),
)
"""What `configs/artv/ablations.yaml` is compared with; it has posterior, all channels, its own
frames as references. One mask for all channels does not fit its weights, and an anchor out of 4
frames not its windows: those two are compared at full size."""

QUICK_LEAVES_OUT = ("reference_noise",)
FULL_SIZE = (
    *(BASE, "no_mask", "no_anchor", "no_noise_augmentation", "reference_noise", "own_references"),
    *("static_residual", "static_literal", "mask_channels_all", "anchor_window_4"),
)
"""What `configs/artv/train.yaml` is compared with; it has posterior, one channel, levels to 550."""

TITLES = {
    BASE: "full model",
    "noise_levels_550": "noise levels up to 550",
    **{f"static_{form}": f"static noise: {form}" for form in ("posterior", "residual", "literal")},
    "mask_channels_one": "one mask for all channels",
    "mask_channels_all": "a mask for each channel",
    "anchor_window_4": "anchor window of 4",
}
FAR, MASK_MEAN = "background_psnr@127", "mask mean"
DRIFT = ("FVD@128", "lasts", "identity", FAR, "FVD")
"""The distance at the end decides, since a still, which keeps its shape for ever, is far in it."""
NOISE, GUIDANCE = (
    Heading("fig8b", "Noise level at test time (Fig. 8b)"),
    Heading("guidance", "Guidance"),
)
CONDITIONS = {
    "references": "background_psnr@15",
    "anchor": "background_psnr@15",
    "text": "direction@16",
}
"""Condition -> what guiding by it is to improve."""

PAPER, OURS = "Sec. 4.2, Fig. 8a, 10", "ours"
BY_FORM = ("FVD@128", FAR, "FVD")
RESIDUAL, NO_MASK = ("static_residual", "residual"), ("no_mask", "no mask")


def _lowers(claim: str, source: str, without: str, part: str = BASE) -> Comparison:
    """The claim that a part lowers drift: a variant with it against one without it."""
    return Comparison(f"{claim} drift", source, (part, "with it"), (without, "without it"), DRIFT)


COMPARISONS = (
    _lowers("the mask lowers", PAPER, "no_mask"),
    dataclasses.replace(
        _lowers("", PAPER, "no_anchor"), claim="the anchor lowers drift at 128 frames"
    ),
    _lowers("noise augmentation lowers", "Sec. 4.2, Fig. 10", "no_noise_augmentation"),
    Comparison(
        "noise levels up to 550 drift less than levels up to 100",
        "Sec. 3.3, 4",
        ("noise_levels_550", "550"),
        (BASE, "100"),
        DRIFT,
    ),
    _lowers("training on references that the model made itself lowers", OURS, "no_own_references"),
    _lowers("noise on the references that are copied lowers", OURS, BASE, "reference_noise"),
    Comparison(
        "the residual form of the static noise beats no mask",
        "Eq. 6, Fig. 8a",
        RESIDUAL,
        NO_MASK,
        BY_FORM,
    ),
    Comparison(
        "the posterior form beats the residual one", OURS, (BASE, "posterior"), RESIDUAL, BY_FORM
    ),
    Comparison(
        "the sign as printed (literal) is worse than the sign that Fig. 4 implies (residual)",
        OURS,
        RESIDUAL,
        ("static_literal", "literal"),
        BY_FORM,
    ),
    Comparison(
        "a mask for every channel beats one mask for all",
        OURS,
        (BASE, "one for each"),
        ("mask_channels_one", "one for all"),
        ("FVD@128", FAR),
    ),
    Comparison(
        "an anchor out of the 10 frames before beats one out of 4",
        "Sec. 3.4",
        (BASE, "10 frames"),
        ("anchor_window_4", "4 frames"),
        ("FVD@128", FAR),
    ),
)
OPTIMUM = InteriorOptimum(
    "the noise level t_test has an interior optimum",
    "Sec. 4.2, Fig. 8b",
    "t_test",
    "noise levels",
    ("FVD", "background_psnr@15"),
)
GUIDED = tuple(
    BetterThanZero(
        f"guidance by the {condition} helps", "Sec. 4.1", f"guidance_{condition}", metric
    )
    for condition, metric in CONDITIONS.items()
)


def mask_rises(grid: Grid) -> list[Finding]:
    """Whether the `residual` form's mask opens from the first denoising step to the last."""
    claim, source = "the mask's mean rises along denoising (residual form)", "Sec. 4.2, Fig. 4"
    means = {s: m["mean"] for s, m in masks_of(grid.variants.get("static_residual", {})).items()}
    if not means:
        return [Finding.untested(claim, source, MASK_MEAN, "the residual form was not run")]
    last, first = (
        Arm(name, tuple(means), tuple(float(m[step]) for m in means.values()))
        for name, step in (("last step", -1), ("first step", 0))
    )
    ranks = [spearman(range(len(m)), m) if np.ptp(m) else 0.0 for m in means.values()]
    note = f"Spearman's rank correlation with the step is {np.mean(ranks):.2f}"
    return [dataclasses.replace(seed_test(claim, source, MASK_MEAN, last, first), note=note)]


class ARTVStudy(Study):
    """What only ART•V records: masks."""

    def hparams(self, config: Mapping[str, Any]) -> dict[str, str | float | None]:
        """Mask, anchor, noise levels and references of a training."""
        arguments = config.get("model", {}).get("system", {}).get("init_args", {})
        system = {**arguments.get("denoiser", {}), **arguments.get("training", {})}
        windows = (config.get("data", {}).get("windows") or {}).get("init_args", {})
        form, anchor = system.get("static_noise"), system.get("use_anchor")
        return {
            "mask": None if form is None else "no" if form == "none" else "yes",
            "static_noise": form,
            "anchor": None if anchor is None else "yes" if anchor else "no",
            "anchor_window": windows.get("anchor_window"),
            "mask_channels": system.get("mask_channels"),
            "T_max": system.get("max_noise_level"),
            "reference_noise": system.get("reference_noise"),
            "own_references": system.get("own_references"),
        }

    def layout(self) -> dict[str, list[str]]:
        """The masks of all variants in one chart."""
        return {"Mask by denoising step (Fig. 4)": ["mask/mean"]}

    def charts(self, grid: Grid) -> dict[str, Chart]:
        """Fig. 4 of each variant."""
        return {f"fig4/{variant}": chart for variant, chart in mask_charts(grid).items()}

    def pictures(self, grid: Grid) -> dict[str, dict[str, NDArray[np.uint8]]]:
        """Fig. 9 of each variant, three times as large."""
        pictures = mask_pictures(grid)
        return {
            v: {"fig9/masks": p.repeat(3, axis=0).repeat(3, axis=1)} for v, p in pictures.items()
        }

    def record(self, writer: Any, run: Run) -> None:
        """Fig. 4 by denoising step: the mean, and the distribution."""
        mask = mask_of(run)
        if mask is None:
            return
        for step, (mean, counts) in enumerate(zip(mask["mean"], mask["histogram"], strict=True)):
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

    def record_means(self, writer: Any, runs: BySeed) -> None:
        """The mask's mean over the seeds."""
        means = [mask["mean"] for mask in masks_of(runs).values()]
        for step, mean in enumerate(np.mean(means, axis=0) if means else []):
            writer.add_scalar("mask/mean", mean, step)

    def sections(self, grid: Grid, folder: Path) -> list[Section]:
        """Fig. 4 and Fig. 9."""
        from evaluation.studies.pictures import save

        pictures = mask_pictures(grid)
        for variant, picture in pictures.items():
            save(folder / f"masks_{variant}.png", picture)
        files = {variant: f"masks_{variant}.png" for variant in pictures}
        note = FIG9 if pictures else ""
        return [
            Section(
                Heading("fig4", "Mask values by denoising step (Fig. 4)"), FIG4, mask_charts(grid)
            ),
            Section(
                Heading("fig9", "Masks (Fig. 9)"),
                note,
                {},
                files,
                "masks of",
                "No masks were kept.",
            ),
        ]


STUDY = ARTVStudy(
    name="artv",
    title="ART•V: ablations and drift",
    subject="a small ART•V",
    config=Path("configs/artv/ablations.yaml"),
    full_size=Path("configs/artv/train.yaml"),
    overlays=Path("configs/artv/ablation"),
    sweeps_file=Path("configs/artv/study.yaml"),
    budgets={
        "quick": Spending(
            QUICK, tuple(n for n in VARIANTS if n not in QUICK_LEAVES_OUT), ("t_test",)
        ),
        "long": Spending(LONG, VARIANTS),
    },
    full_size_variants=FULL_SIZE,
    titles=TITLES,
    settings=("noise_level", *(f"guidance.{condition}" for condition in CONDITIONS)),
    claims=(*COMPARISONS, OPTIMUM, mask_rises, *GUIDED),
    axes={
        "t_test": Axis(
            NOISE, "fig8b", "t_test", "t_test", scalars="Noise level at test time (Fig. 8b)"
        ),
        **{
            f"guidance_{c}": Axis(GUIDANCE, f"guidance/{c}", f"guidance of {c}", "weight", True)
            for c in CONDITIONS
        },
    },
    ranked=Ranked(
        "form of the static noise wins",
        "forms of the static noise",
        "form",
        {
            "posterior": BASE,
            "residual": "static_residual",
            "literal": "static_literal",
            "none": "no_mask",
        },
        BY_FORM,
    ),
    goals={FAR: 24.1, "direction@128": 0.9},  # a still has 21.1 dB
    bars=Heading("fig8a", "Without mask, anchor, noise augmentation (Fig. 8a)"),
    clips=Heading("fig10", "The same clips, the same noise (the paper's Fig. 10)"),
    full_size_sweep="t_test",
    shown=("T_max",),
    ticked=("seed", "static_noise"),
    figures="fig(8|4)",
)
