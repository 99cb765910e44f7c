"""Options of `tsr` and `decoder`; no torch here, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from lightning_artv.options import add_set, positive, size

AddCommand = Callable[[str, str], argparse.ArgumentParser]
DEVICE_HELP = "cpu, cuda, mps, ... (default: the best there is)"


def add_commands(command: AddCommand) -> None:
    """Add both commands; `command(name, help)` makes a parser."""
    tsr = command("tsr", "measure temporal super-resolution on middle frames that were held out")
    _shared(tsr, "a checkpoint of temporal super-resolution")
    add = tsr.add_argument
    add("--gaps", nargs="+", type=positive, default=[1, 2, 4, 8], metavar="N", help="1 2 4 8")
    add_set(tsr, "NAME=VALUE", "change a setting of the refiner: steps=0 band=8 ...")

    decoder = command("decoder", "measure a video decoder beside the image decoder")
    _shared(decoder, "a checkpoint of a video decoder")
    add = decoder.add_argument
    add("--frames", type=positive, default=16, metavar="N", help="of each clip (default: 16)")
    add("--beside", type=Path, metavar="CKPT", help="another decoder to compare with")


def _shared(parser: argparse.ArgumentParser, checkpoint: str) -> None:
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help=checkpoint)
    add("--out", type=Path, required=True, help="folder for result.json and pictures")
    add("--data", type=Path, help="folder of videos (default: held-out worlds)")
    add("--clips", type=positive, default=64, metavar="N", help="worlds (default: 64)")
    add("--windows", type=positive, default=3, metavar="N", help="places per video (default: 3)")
    add("--shown", type=positive, default=4, metavar="N", help="clips shown (default: 4)")
    add("--size", type=size, metavar="HxW", help="in pixels (default: as trained)")
    add("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    add("--device", default="auto", help=DEVICE_HELP)
