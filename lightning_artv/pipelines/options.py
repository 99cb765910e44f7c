"""The options of `lightning export`; no torch here, so that `--help` answers at once."""

from __future__ import annotations

import argparse

from lightning_artv.options import Parser


def build_parser() -> argparse.ArgumentParser:
    """The options of `lightning export`."""
    parser = Parser(
        prog="lightning export",
        description="Write a checkpoint's model as a folder that diffusers and others read: "
        "safetensors, frozen parts included, and a model card.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    help_ = (
        "a checkpoint that `lightning fit` wrote, or a folder of an earlier export; or several, "
        "each with parts of a system"
    )
    add("--checkpoint", required=True, nargs="+", metavar="C", help=help_)
    add("--output", required=True, metavar="DIR", help="the folder to make")
    add("--weights", choices=["ema", "raw"], default="ema", help="which weights (default ema)")
    add("--overwrite", action="store_true", help="replace a folder that an export wrote before")
    return parser
