"""Options of `shapes` and `shapes-classifier`; no torch here, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from lightning_artv.options import add_set
from lightning_artv.systems.artv.flags import add_flags

AddCommand = Callable[[str, str], argparse.ArgumentParser]
DEVICE_HELP = "cpu, cuda, mps, ... (default: the best there is)"


def add_commands(command: AddCommand) -> None:
    """Add both commands; `command(name, help)` makes a parser."""
    parser = command("shapes", "hold a model of synthetic worlds against the exact truth")
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="a checkpoint of a model of worlds")
    add("--classifier", type=Path, required=True, metavar="FILE", help="of shapes-classifier")
    add("--out", type=Path, required=True, help="folder for result.json and samples.npz")
    add("--clips", type=int, default=64, metavar="N", help="held-out worlds (default: 64)")
    add("--long-clips", type=int, default=24, metavar="N", help="continued ones (default: 24)")
    add("--long-frames", type=int, default=128, metavar="N", help="their frames (default: 128)")
    add("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    add("--device", default="auto", help=DEVICE_HELP)
    add_flags(parser.add_argument_group("sampling (defaults: the checkpoint's)"))
    add_set(parser, "NAME=VALUE", "change any setting of generation: guidance.text=2 ...")

    parser = command("shapes-classifier", "train the network behind shapes-FVD and -IS")
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FILE", help="*.safetensors")
    add("--size", type=int, help="height and width of the worlds (default: 32)")
    add("--worlds", type=int, metavar="N", help="to train on")
    add("--steps", type=int, help="steps of training")
    add("--device", default="auto", help=DEVICE_HELP)
