"""What of a run's configuration its checkpoints tell a model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TRAINER = (
    "devices",
    "num_nodes",
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "max_steps",
)


def run_record(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """How a run was configured, as plain data; the system itself is recorded beside it.

    Args:
        resolved: the run's whole configuration.

    Returns:
        `seed_everything`, `model` (without its system), `data`, `trainer` (what decides the
        outcome) and `ema` (its callback's arguments, or None).
    """
    model, trainer = resolved.get("model") or {}, resolved.get("trainer") or {}
    return {
        "seed_everything": resolved.get("seed_everything"),
        "model": {name: value for name, value in model.items() if name != "system"},
        "data": dict(resolved.get("data") or {}),
        "trainer": {name: trainer[name] for name in TRAINER if name in trainer},
        "ema": _ema(trainer.get("callbacks")),
    }


def _ema(callbacks: Any) -> dict[str, Any] | None:
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        if isinstance(callback, Mapping) and str(callback.get("class_path")).endswith(".EMA"):
            return dict(callback.get("init_args") or {})
    return None
