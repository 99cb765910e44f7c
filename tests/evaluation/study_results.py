"""Made-up results of a grid of runs, with known effects, in the layout of a real one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.shapes.metrics_table import FLAT, METRICS, STILL
from evaluation.studies.artv import STUDY

VARIANTS = ("full", "no_mask", "no_anchor", "no_noise_augmentation", "static_residual")
VARIANTS += ("static_literal", "mask_channels_one", "anchor_window_4")
CURVES = ("psnr", "background_psnr", "contrast", "sharpness", "saturation", "brightness")
WINDOWS = ("direction", "speed", "color", "shape")
ON_SETS = ("FVD", "FVD@128", "IS", "KVD")
STEPS, BINS, SHOWN, SIDE = 5, 20, 4, 8
T_TEST = (0, 100, 200, 400)
GUIDANCE = (0.25, 1)

LONG = ("drift_", "lasts", "identity")
"""Beginnings of metrics of long clips alone."""

Effects = Mapping[str, Mapping[str, float]]
"""Variant -> metric -> what is added to the base's level."""

LEVELS = {"dB": 18.0, "frames": 64.0, "share": 0.8, "of full range": 0.1, "": 50.0}


def write_results(
    out: Path,
    effects: Effects | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    variants: Sequence[str] = VARIANTS,
    seed_sd: float = 0.1,
    clip_sd: float = 0.5,
    clips: int = 12,
    long_frames: int = 128,
    optimum: int = 200,
    rising: float = 0.5,
    sweep_effects: Mapping[str, float] | None = None,
    noisy: str = "full",
) -> None:
    """Write a finished grid.

    Args:
        effects: what each variant adds to the base.
        seed_sd, clip_sd: of the noise that a seed and a clip add to every metric.
        clips: measured; half of them go on to 128 frames.
        optimum: t_test whose results are best: quadratic around it.
        rising: what the mask's mean of `static_residual` gains from first to last step.
        noisy: the variant that the t_test sweep is run on.
        sweep_effects: guidance condition -> what its weights add to every metric.
    """
    effects, sweep_effects = effects or {}, sweep_effects or {}
    guided = [f"guidance_{condition}" for condition in ("references", "anchor", "text")]
    plan = {
        "budget": "quick",
        "steps": 600,
        "seeds": list(seeds),
        "variants": [
            {"name": v, "title": STUDY.titles.get(v, v.replace("_", " ")), "changes": {}}
            for v in variants
        ],
        "sweeps": [
            {"name": "t_test", "setting": "noise_level", "values": list(T_TEST), "variant": noisy},
            *(
                {"name": n, "setting": n.replace("_", "."), "values": list(GUIDANCE)}
                for n in guided
            ),
        ],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.json").write_text(json.dumps(plan))
    (out / "timing.json").write_text(json.dumps({"full.seed0.fit": 61.0, "classifier": 60.0}))
    noise = np.random.default_rng(0)
    for seed in seeds:
        for variant in variants:
            folder = out / "runs" / variant / f"seed{seed}"
            run = _run(noise, effects.get(variant, {}), seed_sd, clip_sd, clips, long_frames)
            run["mask"] = _mask(variant, rising)
            _write(folder / "benchmark", run)
            _write_samples(folder / "benchmark", variant, seed, long_frames)
            _write_config(folder / "tensorboard", variant)
        base = out / "runs" / "full" / f"seed{seed}"
        for level in T_TEST:
            loss = ((level - optimum) / 100) ** 2
            shift = {m: loss * (-1 if METRICS[m].higher_is_better else 1) for m in METRICS}
            swept = base.parents[1] / noisy / base.name / f"t_test_{level}"
            _write(swept, _run(noise, shift, seed_sd, clip_sd, clips // 2, 0))
        for name in guided:
            gain = sweep_effects.get(name.removeprefix("guidance_"), 0.0)
            for weight in GUIDANCE:
                shift = dict.fromkeys(METRICS, gain)
                run = _run(noise, shift, seed_sd, clip_sd, clips // 2, 0)
                _write(base / f"{name}_{weight}", run)


def _run(
    noise: np.random.Generator,
    shift: Mapping[str, float],
    seed_sd: float,
    clip_sd: float,
    clips: int,
    long_frames: int,
) -> dict[str, Any]:
    metrics: dict[str, float | None] = {}
    per_clip: dict[str, list[float | None]] = {}
    for name, metric in METRICS.items():
        far = name.endswith(("@127", "@128")) or name.startswith(LONG)
        if far and not long_frames:
            metrics[name] = None
            continue
        level = LEVELS[metric.unit] + shift.get(name, 0.0) + noise.normal(0, seed_sd)
        if name in ON_SETS:
            metrics[name] = float(level)
            continue
        cells = level + clip_sd * noise.standard_normal(clips // 2 if far else clips)
        per_clip[name] = [float(v) for v in cells]
        if metric.unit == "share":
            per_clip[name][-1] = None
        known = [v for v in per_clip[name] if v is not None]
        metrics[name] = sum(known) / len(known)
    frames = long_frames or 16
    fall = np.linspace(0, 1, frames)
    curves: dict[str, list[float]] = {
        n: list(30 - 12 * fall + shift.get("background_psnr@127", 0) * fall) for n in CURVES
    }
    curves |= {name: [0.9] * (frames // 16) for name in WINDOWS}
    curves["FVD"] = [50.0] * (frames // 16) if frames > 16 else []
    return {
        "protocol": {
            "clips": clips,
            "frames": 16,
            "long_clips": clips // 2 if long_frames else 0,
            "long_frames": long_frames or 16,
            "data_seed": 1,
            "noise_seed": 0,
            "sampling": {
                "steps": STEPS,
                "noise_level": 20,
                "guidance": {"references": 0.0, "anchor": 0.0, "text": 0.0},
            },
            "classifier": {"sha256": "ab" * 32, "accuracy": {"color": 1.0, "direction": 0.97}},
        },
        "checkpoint": {"file": "last.ckpt", "step": 600},
        "metrics": metrics,
        "per_clip": per_clip,
        "curves": curves,
        "truth": _reached(metrics, frames, 1.5),
        "baselines": {
            STILL: _reached(metrics, frames, 2.5, 21.1),
            FLAT: _reached(metrics, frames, 3.5, 23.8),
        },
        "mask": None,
        "seconds": {"generation": 10.0, "measuring": 2.0},
    }


def _reached(
    metrics: Mapping[str, Any], frames: int, fvd: float, psnr: float | None = None
) -> dict[str, Any]:
    known = {"FVD": fvd, "direction@16": 1.0, "background_psnr@127": psnr}
    return {
        "metrics": {**dict.fromkeys(metrics), **known},
        "curves": {**{n: [30.0] * frames for n in CURVES}, "direction": [1.0] * (frames // 16)},
    }


def _mask(variant: str, rising: float) -> dict[str, Any] | None:
    if variant == "no_mask":
        return None
    gain = rising if variant == "static_residual" else -0.4
    means = 0.5 + gain * np.linspace(-0.5, 0.5, STEPS)
    histogram = np.zeros((STEPS, BINS), int)
    histogram[np.arange(STEPS), (means * BINS).astype(int)] = 100
    return {
        "timesteps": list(range(900, 900 - 200 * STEPS, -200)),
        "mean": means.tolist(),
        "histogram": histogram.tolist(),
    }


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(content))


def _write_samples(folder: Path, variant: str, seed: int, frames: int) -> None:
    generator = np.random.default_rng([seed, len(variant)])
    shape = (SHOWN, frames, SIDE, SIDE, 3)
    arrays = {
        "generated": generator.integers(0, 3, shape, np.uint8) * 100,
        "truth": np.random.default_rng(0).integers(0, 3, shape, np.uint8) * 100,
    }
    if variant != "no_mask":
        arrays["masks"] = generator.integers(0, 256, (STEPS, SHOWN, SIDE, SIDE), np.uint8)
    names = np.array([f"world {i}" for i in range(SHOWN)])
    np.savez_compressed(folder / "samples.npz", keys=names, captions=names, **arrays)


def _write_config(folder: Path, variant: str) -> None:
    forms = {"no_mask": "none", "static_residual": "residual", "static_literal": "literal"}
    system = {
        "static_noise": forms.get(variant, "posterior"),
        "mask_channels": "one" if variant == "mask_channels_one" else "all",
        "use_anchor": variant != "no_anchor",
        "max_noise_level": 0 if variant == "no_noise_augmentation" else 20,
        "reference_noise": 0.1,
    }
    window = 4 if variant == "anchor_window_4" else 10
    content = {"model": {"system": {"init_args": system}}, "data": {"anchor_window": window}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(json.dumps(content))
