"""`plan.json`: what a folder's results belong to, so that no other plan goes on in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.ablations.plan import Plan
from evaluation.manifest import differences, to_json
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import write_atomically
from lightning_artv.training.renamed import today

PLAN = "plan.json"
EARLIER = {
    "d933d4765a0bbca2917906586d75fc89b6d0735102ddd4e19b0e4974df2929de": (
        "08c57a5fbf1fbae9989e9706ebd2ef89017c4f7ff6a4142867b1acabb54cb20b"
    )
}
"""Digest of `configs/shapes.yaml` in version 0.1 -> of `configs/artv/worlds.yaml`, which has the
same settings: a folder that was begun with one goes on with the other."""


def open_plan(out: Path, plan: Plan) -> None:
    """Write `plan.json`; where there is one, add new variants, seeds and values to it.

    Raises:
        UserError: the folder holds the results of another plan.
    """
    path, content = out / PLAN, plan.content()
    if path.is_file():
        there = read_plan(path)
        fields = differences(_fixed(there, content), _fixed(content, there))
        if fields:
            raise UserError(
                f"'{out}' holds ablations that were planned otherwise (other "
                f"{', '.join(fields[:4])}): name another --out, or remove it."
            )
        content = _merged(there, content)
    write_atomically(path, to_json(content))


def read_plan(path: Path) -> dict[str, Any]:
    """The content of a `plan.json`.

    Raises:
        UserError: it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["seeds"], content["variants"], content["sweeps"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' is damaged: remove the folder, or put it back.") from error
    config, digest = content.get("config"), content.get("config_sha256")
    moved = {} if config is None else {"config": str(today(Path(config)))}
    return {**content, **moved, **({"config_sha256": EARLIER[digest]} if digest in EARLIER else {})}


def _fixed(plan: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What may not change: all numbers, and variants and sweeps that both plans have."""
    fixed = {k: v for k, v in plan.items() if k not in ("seeds", "variants", "sweeps")}
    for kind, field in (("variants", "changes"), ("sweeps", "setting")):
        shared = {entry["name"] for entry in other[kind]}
        fixed |= {e["name"]: {field: e[field]} for e in plan[kind] if e["name"] in shared}
    return fixed


def _merged(there: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    sweeps = {entry["name"]: dict(entry) for entry in there["sweeps"]}
    for entry in new["sweeps"]:
        before = sweeps.get(entry["name"], {"values": []})["values"]
        sweeps[entry["name"]] = {
            **entry,
            "values": list(dict.fromkeys([*before, *entry["values"]])),
        }
    variants = {entry["name"]: entry for entry in (*there["variants"], *new["variants"])}
    seeds = list(dict.fromkeys([*there["seeds"], *new["seeds"]]))
    return {
        **new,
        "seeds": seeds,
        "variants": list(variants.values()),
        "sweeps": list(sweeps.values()),
    }
