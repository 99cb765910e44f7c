"""What a system's study says: its variants, budgets, sweeps, claims, figures."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.studies.budget import Spending
from lightning_artv.errors import UserError
from lightning_artv.files import read_yaml

BASE = "full"
"""The variant that all others change in one thing."""

DEFAULT = "artv"
"""The study of folders that name none."""


@dataclass(frozen=True)
class Variant:
    """A training whose configuration differs from the base in `changes`.

    Attributes:
        name: name of its overlay, or `full` for the base itself.
        title: what a reader calls it.
        changes: dotted key of the configuration -> value.
    """

    name: str
    title: str
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Sweep:
    """One setting of generation, varied on a trained variant.

    Attributes:
        name: name of its results' folders.
        setting: what is varied, one of the study's settings.
        values: different numbers.
        variant: variant whose trained model is used.
    """

    name: str
    setting: str
    values: tuple[float, ...]
    variant: str = BASE


@dataclass(frozen=True)
class Heading:
    """A section of the page; its tag is also the group of its pictures in TensorBoard."""

    tag: str
    title: str


@dataclass(frozen=True)
class Axis:
    """How a sweep is shown.

    Attributes:
        heading: section of the page; sweeps may share one.
        group: group of its charts in TensorBoard.
        title: what a chart's title calls it.
        label: text below the axis.
        zero_is_benchmark: whether a model that is generated with 0 anyway stands for that value.
        scalars: title of TensorBoard's overlay of its curves; None for none.
    """

    heading: Heading
    group: str
    title: str
    label: str
    zero_is_benchmark: bool = False
    scalars: str | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page that only this study has.

    Attributes:
        heading: its title and tag.
        note: HTML of the paragraph before the figures; empty for none.
        charts: name -> chart.
        pictures: variant -> file beside the page.
        alt: what the pictures show, before the variant's name.
        nothing: what is said where there are no figures.
    """

    heading: Heading
    note: str
    charts: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)
    alt: str = ""
    nothing: str = "Nothing was measured."


@dataclass(frozen=True)
class Ranked:
    """Variants that a reader wants in order.

    Attributes:
        question: what the page asks, as in "Which ... wins".
        what, kind: what they are, and what one of them is called, in a sentence.
        names: its name in a sentence -> variant.
        metrics: each gives an order.
    """

    question: str
    what: str
    kind: str
    names: Mapping[str, str]
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """One system's study; a subclass adds what only its system records.

    Attributes:
        name: name in `plan.json` and for `--study`.
        title, subject: title of the page, and what was trained, in a sentence.
        config, full_size: configurations of the small base and of the full-size one.
        overlays: folder of the variants' files.
        sweeps_file: YAML file of the sweeps.
        budgets: name -> what is spent on what.
        full_size_variants: what is measured at full size.
        titles: variant -> what a reader calls it, where its name does not say it.
        settings: settings of generation that may be swept.
        claims: functions from a `Grid` to its findings.
        axes: sweep -> how it is shown.
        ranked, goals: what the page says of the best; metric -> what it is to reach.
        bars, clips: sections of the bars of all variants and of their clips.
        full_size_sweep: sweep that the base is measured on at full size.
        shown, ticked: hyperparameters that a picture of TensorBoard must show, and that are ticked.
        figures: pattern of the tags in its picture of figures; empty for the bars.
    """

    name: str
    title: str
    subject: str
    config: Path
    full_size: Path
    overlays: Path
    sweeps_file: Path
    budgets: Mapping[str, Spending]
    settings: tuple[str, ...]
    claims: tuple[Callable[[Any], Sequence[Any]], ...]
    axes: Mapping[str, Axis]
    full_size_variants: tuple[str, ...] = (BASE,)
    titles: Mapping[str, str] = field(default_factory=dict)
    ranked: Ranked | None = None
    goals: Mapping[str, float] = field(default_factory=dict)
    bars: Heading = Heading("variants_bars", "Variants side by side")
    clips: Heading = Heading("clips", "The same clips, the same noise")
    full_size_sweep: str | None = None
    shown: tuple[str, ...] = ()
    ticked: tuple[str, ...] = ("seed",)
    figures: str = ""

    def variant(self, name: str) -> Variant:
        """The variant of an overlay file.

        Raises:
            UserError: there is no such file, or it is no mapping.
        """
        title = self.titles.get(name, name.replace("_", " "))
        changes = {} if name == BASE else dict(_flat(read_settings(self.overlay(name))))
        return Variant(name, title, changes)

    def overlay(self, name: str) -> Path:
        """The file that makes a variant of a base configuration.

        Raises:
            UserError: there is none.
        """
        path = self.overlays / f"{name}.yaml"
        if not path.is_file():
            there = [BASE, *sorted(p.stem for p in self.overlays.glob("*.yaml"))]
            known = f"use some of {', '.join(there)}" if there[1:] else "run in the project folder"
            raise UserError(f"There is no variant '{name}' in {self.overlays}: {known}.")
        return path

    def sweeps(self) -> dict[str, Sweep]:
        """The sweeps of the YAML file by name.

        Raises:
            UserError: no such file, or one that is not `name: {setting: ..., values: [...]}`.
        """
        sweeps = {}
        for name, entry in read_settings(self.sweeps_file).items():
            found = entry if isinstance(entry, dict) else {}
            setting, values = found.get("setting"), found.get("values")
            numbers = isinstance(values, list) and all(type(v) in (int, float) for v in values)
            known = setting in self.settings and name in self.axes
            if not known or not numbers or not values or len(set(values)) < len(values):
                raise UserError(
                    f"'{name}' in {self.sweeps_file} must be {{setting: ..., values: [...]}} with "
                    f"one of {', '.join(self.settings)} and different numbers, and be one of "
                    f"{', '.join(self.axes)}."
                )
            sweeps[name] = Sweep(name, str(setting), tuple(values), str(found.get("variant", BASE)))
        return sweeps

    def hparams(self, config: Mapping[str, Any]) -> dict[str, str | float | None]:
        """A run's hyperparameters for TensorBoard, from its configuration; None is left out."""
        return {}

    def layout(self) -> dict[str, list[str]]:
        """Overlays of scalars in TensorBoard beside the engine's: title -> tags."""
        return {}

    def charts(self, grid: Any) -> dict[str, Any]:
        """Charts of a `Grid` for TensorBoard beside the engine's, by tag."""
        return {}

    def pictures(self, grid: Any) -> dict[str, dict[str, Any]]:
        """Variant -> tag -> picture uint8 `[H, W, 3]` for TensorBoard."""
        return {}

    def record(self, writer: Any, run: Any) -> None:
        """Write to TensorBoard what only this system's runs have."""

    def record_means(self, writer: Any, runs: Any) -> None:
        """The same of all seeds."""

    def sections(self, grid: Any, folder: Path) -> list[Section]:
        """Sections of the page that only this study has; writes their pictures into `folder`."""
        return []


def find_study(name: str) -> Study:
    """`STUDY` of `evaluation.studies.NAME`, or an object elsewhere: `my_module.STUDY`.

    Raises:
        UserError: no such module, or no study in it.
    """
    inside = name.isidentifier()
    module, _, attribute = (f"{__package__}.{name}.STUDY" if inside else name).rpartition(".")
    try:
        study = getattr(importlib.import_module(module), attribute, None)
    except (ImportError, ValueError, TypeError) as error:
        missing = getattr(error, "name", None)
        if missing is not None and not f"{module}.".startswith(f"{missing}."):
            raise  # of what the study's own module needs
        study = None
    if not isinstance(study, Study):
        raise UserError(
            f"There is no study '{name}': name a file of evaluation/studies, such as artv, or "
            "another module's, such as my_module.STUDY."
        )
    return study


def read_settings(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: no such file, or no mapping.
    """
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
