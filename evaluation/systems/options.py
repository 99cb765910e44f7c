"""Options of `systems`; no torch here, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from lightning_artv.options import positive


def add_commands(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Add the command; `command(name, help)` makes a parser."""
    parser = command("systems", "compare trained systems on the same shapes, captions and noise")
    add = parser.add_argument
    add(
        "--system",
        nargs="+",
        action="append",
        required=True,
        metavar="NAME CHECKPOINT [SETTING=VALUE]",
        dest="entries",
        help="a row: its name, a checkpoint or exported folder, settings of generation; repeat it",
    )
    add("--out", type=Path, required=True, help="folder for the rows, the page and the tables")
    add("--clips", type=positive, default=64, metavar="N", help="held-out scenes (default: 64)")
    add("--long-clips", type=positive, default=8, metavar="N", help="continued ones (default: 8)")
    add("--long-frames", type=positive, default=128, metavar="N", help="their frames (128)")
    add("--seed", type=int, default=0, help="seed of the noise (default: 0)")
