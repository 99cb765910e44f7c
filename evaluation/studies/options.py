"""Options of the `ablations` commands; no torch here, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from evaluation.studies.study import DEFAULT
from lightning_artv.options import whole
from lightning_artv.training.renamed import today

AddCommand = Callable[[str, str], argparse.ArgumentParser]


def add_commands(command: AddCommand) -> argparse.ArgumentParser:
    """Add the commands; `command(name, help)` makes a parser.

    Returns:
        the parser of `ablations-full`, which also takes what generation and scoring take.
    """
    _grid(command("ablations", "train and measure what is missing of a grid of variants"))
    report = command("ablations-report", "write TensorBoard's folder and the page of a grid anew")
    report.add_argument("out", type=Path, help="folder that `ablations` wrote")
    report.add_argument("--page", type=Path, metavar="DIR", help="of the page (default: OUT/page)")
    report.add_argument("--machine", help="on which it ran, in words, for the page")
    shots = command("ablations-shots", "pictures of a grid's TensorBoard in headless Chromium")
    shots.add_argument("out", type=Path, help="folder that `ablations` wrote")
    full_size = command("ablations-full", "measure full-size variants on the 2k protocols")
    _full_size(full_size)
    for parser in (report, shots, full_size):
        _study(parser)
    return full_size


def _study(parser: argparse.ArgumentParser) -> None:
    text = f"module of a system's study (default: {DEFAULT})"
    parser.add_argument("--study", default=DEFAULT, metavar="NAME", help=text)


def _grid(parser: argparse.ArgumentParser) -> None:
    _study(parser)
    add = parser.add_argument
    add("--budget", default="quick", help="quick (default) or long")
    add("--out", type=Path, default=Path("outputs/ablations"), help="default: outputs/ablations")
    add("--seeds", type=whole(0), nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    add("--variants", nargs="+", metavar="V", help="full, or the study's overlays")
    add("--sweeps", nargs="*", metavar="S", help="of the study's YAML file; none for none")
    add("--workers", type=whole(0), metavar="N", help="processes at once (default: one per core)")
    add(
        "--config",
        type=lambda text: today(Path(text)),
        help="configuration of the base (default: the study's)",
    )
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
    add("--out", type=Path, default=Path("outputs/ablations-full"), help="for videos and report")
    add("--variants", nargs="+", metavar="V", help="full, or the study's overlays")
    add("--mode", default="true-frame", help="the first frame's source (default: true-frame)")
