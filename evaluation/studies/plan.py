"""What is to be run in one folder, and `plan.json`, so that no other plan goes on in it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.manifest import differences, to_json
from evaluation.studies.budget import Budget
from evaluation.studies.study import DEFAULT, Study, Sweep, Variant
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import write_atomically
from lightning_artv.training.extends import chain
from lightning_artv.training.keyed import merged
from lightning_artv.training.renamed import today

PLAN = "plan.json"


@dataclass(frozen=True)
class Plan:
    """All that is to be run in one folder.

    Attributes:
        study: whose.
        budget: how much of it.
        config: configuration of the base.
        config_sha256: digest of its settings, without comments and order, and its first weights.
        seeds, variants, sweeps: seeds, variants and sweeps to run.
    """

    study: Study
    budget: Budget
    config: Path
    config_sha256: str
    seeds: tuple[int, ...]
    variants: tuple[Variant, ...]
    sweeps: tuple[Sweep, ...]

    def content(self) -> dict[str, Any]:
        """What `plan.json` holds."""
        numbers = dataclasses.asdict(self.budget)
        return {
            "study": self.study.name,
            "budget": numbers.pop("name"),
            **numbers,
            "config": str(self.config),
            "config_sha256": self.config_sha256,
            "seeds": list(self.seeds),
            "variants": [dataclasses.asdict(variant) for variant in self.variants],
            "sweeps": [dataclasses.asdict(s) | {"values": list(s.values)} for s in self.sweeps],
        }


def make_plan(
    study: Study,
    budget: Budget,
    seeds: Sequence[int],
    variants: Sequence[str],
    sweeps: Sequence[str] | None = None,
    config: Path | None = None,
) -> Plan:
    """The plan for these variants and seeds, each once and in the order given.

    Args:
        study: system's study.
        budget: how much is spent.
        seeds: seeds of the trainings.
        variants: names of overlays, or `full`.
        sweeps: names of sweeps; None for all whose variant is trained.
        config: configuration of the base; None for the study's.

    Raises:
        UserError: a file or a sweep that does not exist, or a sweep without its variant.
    """
    known, config = study.sweeps(), config or study.config
    names = list(known) if sweeps is None else list(dict.fromkeys(sweeps))
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"There is no sweep '{unknown[0]}': use some of {', '.join(known)}.")
    chosen = tuple(study.variant(name) for name in dict.fromkeys(variants))
    for name in [name for name in names if known[name].variant not in variants]:
        if sweeps:
            raise UserError(
                f"The sweep {name} is run on '{known[name].variant}': add it to --variants."
            )
        names.remove(name)
    swept = tuple(known[name] for name in names)
    return Plan(study, budget, config, digest(config), tuple(dict.fromkeys(seeds)), chosen, swept)


def digest(config: Path) -> str:
    """sha256 of the settings of a configuration and its bases, and of an exported folder that
    its trainings start from.
    """
    contents = (source.content or {} for source in chain(config))
    content: dict[str, Any] = functools.reduce(merged, contents, {})
    content.pop("extends", None)
    start = (content.get("model") or {}).get("init_from")
    if start and (sums := Path(start) / "sha256.txt").is_file():
        content["start"] = sums.read_text(encoding="utf-8")
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
        content = _added(there, content)
    write_atomically(path, to_json(content))


def read_plan(path: Path) -> dict[str, Any]:
    """The content of a `plan.json` of this version or an earlier one.

    Raises:
        UserError: it is damaged.
    """
    try:
        content = dict(json.loads(path.read_text(encoding="utf-8")))
        content["seeds"], content["variants"], content["sweeps"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' is damaged: remove the folder, or put it back.") from error
    content.setdefault("study", DEFAULT)
    if "config" in content:
        content["config"] = str(today(Path(content["config"])))
    return content


def _fixed(plan: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What may not change: all numbers, and variants and sweeps that both plans have."""
    fixed = {k: v for k, v in plan.items() if k not in ("seeds", "variants", "sweeps")}
    for kind, key in (("variants", "changes"), ("sweeps", "setting")):
        shared = {entry["name"] for entry in other[kind]}
        fixed |= {e["name"]: {key: e[key]} for e in plan[kind] if e["name"] in shared}
    return fixed


def _added(there: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The new plan with what only the old one has."""
    sweeps = {entry["name"]: dict(entry) for entry in there["sweeps"]}
    for entry in new["sweeps"]:
        values = [*sweeps.get(entry["name"], {"values": []})["values"], *entry["values"]]
        sweeps[entry["name"]] = {**entry, "values": list(dict.fromkeys(values))}
    variants = {entry["name"]: entry for entry in (*there["variants"], *new["variants"])}
    seeds = list(dict.fromkeys([*there["seeds"], *new["seeds"]]))
    return {**new, "seeds": seeds, "variants": [*variants.values()], "sweeps": [*sweeps.values()]}
