"""The command `ablations-full`: full-size variants on the paper's 2k protocols (Fig. 8)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation import commands
from evaluation.ablations.plan import BASE, VARIANTS_FULL_SIZE, Variant, read_sweeps
from evaluation.compare import compare
from evaluation.generate import MODES
from evaluation.report.write import write_report
from evaluation.result import Result
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import write_atomically

PROTOCOLS = {"ucf101": "ucf101-2k", "msrvtt": "msrvtt-2k", "webvid": "webvid-2k"}
SWEEP = "t_test"
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
    variants = [Variant.named(name) for name in options.variants or VARIANTS_FULL_SIZE]
    codes: list[int] = []
    found: list[tuple[Variant, Path]] = []
    for variant in variants:
        try:
            found.append((variant, find_checkpoint(options.checkpoints, variant.name)))
        except UserError as error:
            codes.append(_say(error))
    everything: list[Result] = []
    for name, data in sets.items():
        rows = list(_rows(options, found, PROTOCOLS[name], data))
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


def find_checkpoint(folder: Path, variant: str) -> Path:
    """`VARIANT/last.ckpt`, `VARIANT/checkpoints/last.ckpt` (as training leaves it) or
    `VARIANT.ckpt`; files, or folders of sharded training.

    Raises:
        UserError: there is none.
    """
    names = (f"{variant}/last.ckpt", f"{variant}/checkpoints/last.ckpt", f"{variant}.ckpt")
    found = next((folder / name for name in names if (folder / name).exists()), None)
    if found is None:
        overlay = "" if variant == BASE else f" --config configs/artv/ablation/{variant}.yaml"
        raise UserError(
            f"There is no {folder / names[0]}: train it with `lightning fit --config "
            f"configs/artv/train.yaml{overlay}`, or leave '{variant}' out of --variants."
        )
    return found


def _rows(
    options: argparse.Namespace,
    checkpoints: Sequence[tuple[Variant, Path]],
    protocol: str,
    data: Path,
) -> Iterator[_Row]:
    """Every variant as it is, and the base once more for every t_test."""
    levels: Sequence[float] = read_sweeps()[SWEEP].values
    for variant, checkpoint in checkpoints:
        common = {**vars(options), "protocol": protocol, "data": data, "checkpoint": checkpoint}
        folder = options.out / protocol / variant.name
        name = variant.title
        yield _Row(name, folder, argparse.Namespace(**common, name=name))
        for level in levels if variant.name == BASE else ():
            name = f"{variant.title}, {SWEEP} {level}"
            changed = argparse.Namespace(**common | {"noise_level": level}, name=name)
            yield _Row(name, folder.with_name(f"{BASE}-{SWEEP}-{level}"), changed)


def _say(error: UserError, before: str = "") -> int:
    print(f"error: {before}{error}", file=sys.stderr)
    return error.exit_code
