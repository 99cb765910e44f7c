"""Options of `ablations` and `ablations-full`; no torch here, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

AddCommand = Callable[[str, str], argparse.ArgumentParser]


def add_commands(command: AddCommand) -> None:
    """Add both commands; `command(name, help)` makes a parser."""
    _grid(command("ablations", "train and measure what is missing of a grid of variants"))
    _full_size(command("ablations-full", "measure full-size variants on the 2k protocols"))


def _grid(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--budget", default="quick", help="quick (default) or long")
    add("--out", type=Path, default=Path("outputs/ablations"), help="default: outputs/ablations")
    add("--seeds", type=_number, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    add("--variants", nargs="+", metavar="V", help="full, or files of configs/ablation")
    add("--sweeps", nargs="*", metavar="S", help="of configs/ablation/sweeps.yaml; none for none")
    add("--workers", type=_number, metavar="N", help="processes at once (default: one a core)")
    add("--config", type=Path, help="of the base (default: configs/shapes.yaml)")
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=NUMBER",
        dest="changes",
        help="change the budget: steps=1000 clips=128 ...",
    )


def _full_size(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--checkpoints", type=Path, required=True, metavar="DIR", help="DIR/VARIANT/last.ckpt")
    for name in ("ucf101", "msrvtt", "webvid"):
        add(f"--data-{name}", type=Path, metavar="DIR", help=f"measure on {name}-2k")
    add("--out", type=Path, default=Path("outputs/ablations-full"))
    add("--variants", nargs="+", metavar="V", help="full, or files of configs/ablation")
    add("--mode", default="true-frame", help="where first frames come from: true-frame or none")
    add("--weights", type=Path, metavar="DIR", help="folder of weight files (see `weights`)")
    add("--devices", type=_number, default=1, metavar="N", help="share the videos out over N")
    add(
        "extra",
        nargs=argparse.REMAINDER,
        metavar="-- ...",
        help="after `--`: further options of `generate` and `score`",
    )


def _number(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number, got '{text}'")
    return int(text)
