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
