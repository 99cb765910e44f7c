"""ART•V's settings and weights under the names that they had in earlier versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WEIGHTS = {"dynamic.": "denoiser.dynamic.", "mask.": "denoiser.mask."}
"""How a weight's name began in version 0.1 -> how it begins now."""

CLASSES = ("lightning_artv.systems.artv.ARTV", "lightning_artv.systems.artv.system.ARTV")
CLASS = "lightning_artv.systems.artv.ARTV.build"
"""The `class_path` of a configuration: version 0.1's, and today's."""

_DENOISER = (
    *("static_noise", "mask_width", "mask_channels", "mask_bias", "max_noise_level"),
    *("use_anchor", "anchor_patch", "prediction_type", "schedule"),
)
_TRAINING = (
    *("condition_dropout", "first_frame_share", "loss_weighting", "unreferenced_weight"),
    *("own_references", "own_reference_steps", "reference_noise"),
)
GROUPS = {name: "denoiser" for name in _DENOISER} | {name: "training" for name in _TRAINING}
"""Setting that was an argument of its own in version 0.1 -> the group that holds it now."""

WINDOWS_CLASS = "lightning_artv.systems.artv.windows.NextFrame"
WINDOWS = {
    "anchor_window": "anchor_window",
    "start_probability": "start_probability",
    "targets_per_window": "targets",
}
"""Setting of version 0.1's `data` -> the argument of `NextFrame` that it is now."""


def data(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `data`, or part of them, under today's names.

    What is under today's names already stays.
    """
    kept = {name: value for name, value in settings.items() if name not in WINDOWS}
    moved = {today: settings[name] for name, today in WINDOWS.items() if name in settings}
    if not moved:
        return kept
    windows = kept.get("windows") or {"class_path": WINDOWS_CLASS}
    windows = {"class_path": windows} if isinstance(windows, str) else windows
    arguments = {**(windows.get("init_args") or {}), **moved}
    return {**kept, "windows": {**windows, "init_args": arguments}}


def settings(system: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration (`class_path`, `init_args`), or part of one, under today's names.

    What is under today's names already stays.
    """
    today = dict(system)
    if today.get("class_path") in CLASSES:
        today["class_path"] = CLASS
    arguments = today.get("init_args")
    if isinstance(arguments, Mapping):
        kept = {k: v for k, v in arguments.items() if k not in GROUPS}
        for name, group in GROUPS.items():
            if name in arguments:
                kept[group] = {**(kept.get(group) or {}), name: arguments[name]}
        today["init_args"] = kept
    return today


def step_output(output: Mapping[str, Any]) -> dict[str, Any]:
    """What was kept of a training step, under today's names; the schedule had 1000 timesteps."""
    if "timesteps" not in output:
        return dict(output)
    values = {"loss": output["per_sample"]}
    if output.get("mask_mean") is not None:
        values["mask"] = output["mask_mean"]
    return {"level": output["timesteps"] / 1000, "values": values}
