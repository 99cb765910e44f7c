"""The command `ablations-full`: full-size variants on the paper's 2k protocols (Fig. 8)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation import commands
from evaluation.compare import compare
from evaluation.generate import MODES
from evaluation.report.write import write_report
from evaluation.result import Result
from evaluation.studies.study import BASE, Study, Variant, find_study
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import write_atomically

PROTOCOLS = {"ucf101": "ucf101-2k", "msrvtt": "msrvtt-2k", "webvid": "webvid-2k"}
TABLE = "table.md"


@dataclass(frozen=True)
class _Row:
    """One row of a table: a checkpoint under one setting of generation."""

    name: str
    folder: Path
    options: argparse.Namespace


def run(options: argparse.Namespace) -> int:
    """Measure every variant whose checkpoint is there on every real set that is named.

    Returns:
        0, or the exit code of the first variant that could not be measured; the others are.

    Raises:
        UserError: no real set, no such variant or mode.
    """
    sets = {name: folder for name in PROTOCOLS if (folder := getattr(options, f"data_{name}"))}
    if not sets:
        raise UserError("There is nothing to measure on: name --data-ucf101, -msrvtt or -webvid.")
    if options.mode not in MODES:
        raise UserError(f"A mode is one of {', '.join(MODES)}, got '{options.mode}'.")
    study = find_study(options.study)
    found, codes = _checkpoints(study, options)
    everything: list[Result] = []
    for name, data in sets.items():
        rows = list(_rows(study, options, found, PROTOCOLS[name], data))
        measured = []
        for number, row in enumerate(rows, 1):
            print(f"{PROTOCOLS[name]} {number}/{len(rows)}: {row.name}", file=sys.stderr)
            try:
                folder = commands.make(row.options, options.mode, row.folder)
                everything.append(commands.measured_once(row.options, folder))
                measured.append(folder / commands.RESULT)
            except UserError as error:
                codes.append(_say(error, f"{PROTOCOLS[name]}, {row.name}: "))
        if measured:
            table = compare(measured)
            write_atomically(options.out / PROTOCOLS[name] / TABLE, table.encode())
            print(table)
    if everything:
        report = write_report(everything, options.out, tensorboard=options.out / "tensorboard")
        print("\n".join(map(str, report)))
        codes.append(commands.exit_code(everything))
    return next((code for code in codes if code), 0)


def _checkpoints(
    study: Study, options: argparse.Namespace
) -> tuple[list[tuple[Variant, Path]], list[int]]:
    """The variants whose checkpoint is there; an exit code for each of the others."""
    variants = [study.variant(name) for name in options.variants or study.full_size_variants]
    found, codes = [], []
    for variant in variants:
        try:
            found.append((variant, find_checkpoint(study, options.checkpoints, variant.name)))
        except UserError as error:
            codes.append(_say(error))
    return found, codes


def find_checkpoint(study: Study, folder: Path, variant: str) -> Path:
    """`VARIANT/last.ckpt`, `VARIANT/checkpoints/last.ckpt` (as training leaves it) or
    `VARIANT.ckpt`; files, or folders of sharded training.

    Raises:
        UserError: there is none.
    """
    names = (f"{variant}/last.ckpt", f"{variant}/checkpoints/last.ckpt", f"{variant}.ckpt")
    found = next((folder / name for name in names if (folder / name).exists()), None)
    if found is None:
        overlay = "" if variant == BASE else f" --config {study.overlay(variant)}"
        raise UserError(
            f"There is no {folder / names[0]}: train it with `lightning fit --config "
            f"{study.full_size}{overlay}`, or leave '{variant}' out of --variants."
        )
    return found


def _rows(
    study: Study,
    options: argparse.Namespace,
    checkpoints: Sequence[tuple[Variant, Path]],
    protocol: str,
    data: Path,
) -> Iterator[_Row]:
    """Every variant as it is, and the base once more for every value of the study's sweep."""
    sweep = study.sweeps()[study.full_size_sweep] if study.full_size_sweep else None
    for variant, checkpoint in checkpoints:
        common = {**vars(options), "protocol": protocol, "data": data, "checkpoint": checkpoint}
        folder = options.out / protocol / variant.name
        name = variant.title
        yield _Row(name, folder, argparse.Namespace(**common, name=name))
        if sweep is None or variant.name != BASE:
            continue
        for level in sweep.values:
            name = f"{variant.title}, {sweep.name} {level}"
            changes = [*options.changes, (sweep.setting, str(level))]
            changed = argparse.Namespace(**common | {"changes": changes}, name=name)
            yield _Row(name, folder.with_name(f"{BASE}-{sweep.name}-{level}"), changed)


def _say(error: UserError, before: str = "") -> int:
    print(f"error: {before}{error}", file=sys.stderr)
    return error.exit_code
