"""`python -m data_prep`: from raw videos to training shards.

Each command's code is imported only when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_prep.commands import INPUTS, add_steps
from lightning_artv.errors import DataError
from lightning_artv.exit_codes import exit_code
from lightning_artv.given import SHARDS, check_given, check_weights_given

_WHOLE = ("folder", "shapes")
"""Commands that write all or nothing."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 on success, else an exit code and one sentence on stderr."""
    options = _parser().parse_args(arguments)
    left = "nothing was written" if options.command in _WHOLE else "run it again to go on"
    return exit_code(lambda: _run(options), f"Stopped by Ctrl-C; {left}.")


def _run(options: argparse.Namespace) -> int:
    check_given(options, INPUTS.get(options.command, {}))
    check_given(options, {"shards": SHARDS}, DataError)
    check_weights_given(getattr(options, "pretrained", None))
    code: int = options.call(options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="data_prep",
        description="Make WebDataset shards (key.mp4 key.txt key.json) to train on.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    folder = commands.add_parser("folder", help="from a folder of videos with captions")
    folder.add_argument("source", type=Path, help="holds metadata.csv (file_name,text) or .jsonl")
    folder.add_argument("--size", type=int, help="limit the short side; re-encodes larger videos")
    folder.add_argument("--fps", type=float, help="limit the frame rate; re-encodes faster videos")
    folder.add_argument("--skip-missing", action="store_true", help="go on without missing files")
    folder.add_argument(
        "--allow-empty-captions", action="store_true", help="train such videos as ones without text"
    )
    shapes = commands.add_parser("shapes", help="synthetic videos of moving shapes")
    shapes.add_argument("--count", type=int, required=True, help="number of videos")
    shapes.add_argument("--seed", type=int, default=0)
    shapes.add_argument("--split", choices=("train", "heldout"), default="train")
    shapes.add_argument("--size", type=int, default=32, help="height and width (default 32)")
    shapes.add_argument("--frames", type=int, default=16, help="per video (default 16)")
    shapes.add_argument(
        "--scenes",
        choices=("plain", "worlds"),
        default="plain",
        help="worlds: textured backgrounds, obstacles, camera pans, no borders (default plain)",
    )
    shapes.add_argument("--fps", type=float, default=8.0, help="frames a second (default 8)")
    folder.set_defaults(call=_folder)
    shapes.set_defaults(call=_shapes)
    for command, per_shard in ((folder, 1000), (shapes, 500)):
        command.add_argument("out", type=Path, help="folder for the shards")
        command.add_argument("--shard-size", type=int, default=per_shard, help="videos per shard")
        command.add_argument("--overwrite", action="store_true", help="replace what OUT holds")
    add_steps(commands)
    return parser


def _folder(options: argparse.Namespace) -> int:
    from data_prep.shards.folder import Limits, write_folder

    report = write_folder(
        options.source,
        options.out,
        limits=Limits(options.size, options.fps),
        samples_per_shard=options.shard_size,
        skip_missing=options.skip_missing,
        allow_empty_captions=options.allow_empty_captions,
        overwrite=options.overwrite,
    )
    print(report)
    return 0


def _shapes(options: argparse.Namespace) -> int:
    from data_prep.shards.shapes import write_shapes

    shards = write_shapes(
        options.out,
        options.count,
        seed=options.seed,
        split=options.split,
        size=options.size,
        frames=options.frames,
        fps=options.fps,
        samples_per_shard=options.shard_size,
        overwrite=options.overwrite,
        scenes=options.scenes,
    )
    plural = "" if len(shards) == 1 else "s"
    print(f"Wrote {options.count} videos in {len(shards)} shard{plural} to {options.out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
