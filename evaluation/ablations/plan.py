"""What an ablation consists of: variants, seeds, sweeps, and how much is spent on each."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_artv.errors import UserError
from lightning_artv.files import read_yaml
from lightning_artv.numbers import whole_number
from lightning_artv.training.extends import chain
from lightning_artv.training.keyed import merged

CONFIG = Path("configs/artv/worlds.yaml")
OVERLAYS = Path("configs/artv/ablation")
SWEEPS = Path("configs/artv/study.yaml")
BASE = "full"
"""The variant that all others change in one thing."""

PRIOR = "prior"
"""The overlay of a network that all variants may start from."""

TITLES = {
    BASE: "full model",
    "no_mask": "no mask",
    "no_anchor": "no anchor",
    "no_noise_augmentation": "no noise augmentation",
    "noise_levels_550": "noise levels up to 550",
    "no_reference_noise": "no reference noise",
    "reference_noise": "reference noise",
    "own_references": "own references",
    "static_posterior": "static noise: posterior",
    "static_residual": "static noise: residual",
    "static_literal": "static noise: literal",
    "mask_channels_one": "one mask for all channels",
    "mask_channels_all": "a mask for each channel",
    "anchor_window_4": "anchor window of 4",
}
_SMALL_HAS = ("static_posterior", "mask_channels_all", "reference_noise")
_FULL_SIZE_HAS = (
    *("static_posterior", "mask_channels_one", "noise_levels_550"),
    "no_reference_noise",
)

VARIANTS = tuple(n for n in TITLES if n not in _SMALL_HAS)
"""What `configs/artv/worlds.yaml` is compared with."""

QUICK_LEAVES_OUT = ("own_references", "mask_channels_one", "anchor_window_4")
VARIANTS_OF = {
    "quick": tuple(n for n in VARIANTS if n not in QUICK_LEAVES_OUT),
    "long": VARIANTS,
}
"""Budget -> the variants that it is spent on, where nothing else is asked for."""

SWEEPS_OF = {"quick": ("t_test",), "long": None}
"""Budget -> the sweeps; None for all."""

VARIANTS_FULL_SIZE = tuple(n for n in TITLES if n not in _FULL_SIZE_HAS)
"""The same for `configs/artv/train.yaml`."""

SETTINGS = ("noise_level", "guidance.references", "guidance.anchor", "guidance.text")


@dataclass(frozen=True)
class Budget:
    """How much is spent.

    Attributes:
        name: for `plan.json`; with a `*` where a number was changed.
        prior_steps: optimiser steps of a network that all variants start from, each on
            `PRIOR_PROCESSES` times as many samples; 0: they start from random weights.
        steps: optimiser steps a variant is trained: a multiple of the configuration's interval of
            checkpoints, unless below it.
        train_worlds, heldout_worlds: videos to train on and to compute the validation loss on.
        clips: held-out videos of 16 frames that every variant is measured on.
        long_clips, long_frames: the first of them that go on for longer, and for how long.
        sweep_clips: videos of 16 frames for each value of a sweep.
    """

    name: str
    prior_steps: int
    steps: int
    train_worlds: int
    heldout_worlds: int
    clips: int
    long_clips: int
    long_frames: int
    sweep_clips: int

    def with_changes(self, changes: Sequence[str]) -> Budget:
        """The budget with numbers changed by `name=number`.

        Raises:
            UserError: no such number, or one that is too small.
        """
        names = [field.name for field in dataclasses.fields(self) if field.name != "name"]
        values = {}
        for change in changes:
            name, _, text = change.partition("=")
            least = 0 if name == "prior_steps" else 1
            number = whole_number(text)
            if name not in names or number is None or number < least:
                raise UserError(
                    f"--set takes NAME=NUMBER with one of {', '.join(names)} and a whole number "
                    f"above 0, got '{change}'."
                )
            values[name] = number
        changed = dataclasses.replace(self, **values)  # type: ignore[arg-type]
        return self if changed == self else dataclasses.replace(changed, name=f"{self.name}*")


BUDGETS = {
    budget.name: budget
    for budget in (
        Budget("quick", 0, 300, 4000, 128, 32, 12, 128, 32),
        Budget("long", 0, 10_000, 20_000, 256, 128, 48, 128, 64),
    )
}


@dataclass(frozen=True)
class Variant:
    """A training whose configuration differs from the base in `changes`.

    Attributes:
        name: of its overlay in `configs/artv/ablation`, or `full` for the base itself.
        title: what a reader calls it.
        changes: dotted key of the configuration -> value.
    """

    name: str
    title: str
    changes: Mapping[str, Any]

    @classmethod
    def named(cls, name: str) -> Variant:
        """The variant of an overlay file.

        Raises:
            UserError: there is no such file, or it is no mapping.
        """
        if name == BASE:
            return cls(name, TITLES[name], {})
        path = overlay(name)
        return cls(name, TITLES.get(name, name.replace("_", " ")), dict(_flat(_read(path))))


@dataclass(frozen=True)
class Sweep:
    """One setting of generation, varied on a trained variant.

    Attributes:
        name: `t_test`, or `guidance_` and a condition.
        setting: what is varied, one of `SETTINGS`.
        values: rising or not, each once.
        variant: on which.
    """

    name: str
    setting: str
    values: tuple[float, ...]
    variant: str = BASE


@dataclass(frozen=True)
class Plan:
    """All that is to be run in one folder.

    Attributes:
        budget: how much of it.
        config: configuration of the base.
        config_sha256: of its content, without comments and order.
        seeds, variants, sweeps: of what.
    """

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
            "budget": numbers.pop("name"),
            **numbers,
            "config": str(self.config),
            "config_sha256": self.config_sha256,
            "seeds": list(self.seeds),
            "variants": [dataclasses.asdict(variant) for variant in self.variants],
            "sweeps": [dataclasses.asdict(s) | {"values": list(s.values)} for s in self.sweeps],
        }


def make_plan(
    budget: Budget,
    seeds: Sequence[int],
    variants: Sequence[str] = VARIANTS,
    sweeps: Sequence[str] | None = None,
    config: Path = CONFIG,
) -> Plan:
    """The plan for these variants and seeds, each once and in the order given.

    Args:
        sweeps: names of `configs/artv/study.yaml`; None for all.

    Raises:
        UserError: a file or a sweep that does not exist, or a sweep without its variant.
    """
    known = read_sweeps()
    names = list(known) if sweeps is None else list(dict.fromkeys(sweeps))
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"There is no sweep '{unknown[0]}': use some of {', '.join(known)}.")
    chosen = tuple(Variant.named(name) for name in dict.fromkeys(variants))
    for name in [name for name in names if known[name].variant not in variants]:
        if sweeps:
            raise UserError(
                f"The sweep {name} is run on '{known[name].variant}': add it to --variants."
            )
        names.remove(name)
    return Plan(
        budget,
        config,
        _digest(config),
        tuple(dict.fromkeys(seeds)),
        chosen,
        tuple(known[name] for name in names),
    )


def read_sweeps(path: Path = SWEEPS) -> dict[str, Sweep]:
    """The sweeps of a file by name.

    Raises:
        UserError: no such file, or one that is not `name: {setting: ..., values: [...]}`.
    """
    sweeps = {}
    for name, entry in _read(path).items():
        setting, values = (
            (entry.get("setting"), entry.get("values")) if isinstance(entry, dict) else (None, None)
        )
        numbers = isinstance(values, list) and all(type(v) in (int, float) for v in values)
        if setting not in SETTINGS or not values or not numbers or len(set(values)) < len(values):
            raise UserError(
                f"'{name}' in {path} must be {{setting: ..., values: [...]}} with one of "
                f"{', '.join(SETTINGS)} and different numbers."
            )
        variant = str(entry.get("variant", BASE))
        sweeps[str(name)] = Sweep(str(name), setting, tuple(values), variant)
    return sweeps


def overlay(name: str) -> Path:
    """The file that makes a variant of a base configuration.

    Raises:
        UserError: there is none.
    """
    path = OVERLAYS / f"{name}.yaml"
    if not path.is_file():
        there = sorted(p.stem for p in OVERLAYS.glob("*.yaml"))
        known = f"use some of {', '.join([BASE, *there])}" if there else "run in the project folder"
        raise UserError(f"There is no variant '{name}' in {OVERLAYS}: {known}.")
    return path


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"There is no {path}: run the command in the project folder.")
    content = read_yaml(path, "configuration file")
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings: write 'key: value' lines.")
    return content


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of the leaves."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _digest(config: Path) -> str:
    """sha256 of what a configuration and its bases hold."""
    content = functools.reduce(merged, (source.content for source in chain(config)), {})
    content.pop("extends", None)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
