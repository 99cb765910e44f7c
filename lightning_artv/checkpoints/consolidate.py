"""`lightning consolidate`: a sharded checkpoint, as one ordinary file."""

from __future__ import annotations

import argparse
from pathlib import Path

from lightning_artv.errors import UserError
from lightning_artv.numbers import size


def build_parser() -> argparse.ArgumentParser:
    """The options of `lightning consolidate`."""
    parser = argparse.ArgumentParser(
        prog="lightning consolidate",
        description="Make one checkpoint file of a folder that a sharded (FSDP2) run wrote.",
        allow_abbrev=False,
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="the folder")
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    return parser


def run(options: argparse.Namespace) -> int:
    """Consolidate and say where the file is."""
    consolidate(options.checkpoint, options.output)
    print(f"{options.output}: {size(options.output.stat().st_size)}")
    return 0


def consolidate(folder: Path, output: Path) -> None:
    """Write the checkpoint in `folder` as the file `output`, whole or not at all.

    One process; needs memory for the whole checkpoint.

    Raises:
        UserError: no such folder, a damaged one, or `output` cannot be written.
    """
    from lightning_artv.checkpoints.replacing import save_file
    from lightning_artv.checkpoints.sharded import read
    from lightning_artv.media.atomic import atomic_path, writing_to

    if output.is_dir():
        raise UserError(f"'{output}' is a folder: name a file.")
    if folder.is_file():
        raise UserError(f"'{folder}' is one file, an ordinary checkpoint: use it as it is.")
    checkpoint = read(folder)
    with atomic_path(output) as temporary, writing_to(output):
        save_file(checkpoint, temporary)
