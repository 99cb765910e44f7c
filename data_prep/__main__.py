"""`python -m data_prep`: from raw videos to training shards."""

from __future__ import annotations

import argparse
import sys

from data_prep.commands import COMMANDS
from data_prep.options.arguments import add_command, call, check_inputs
from data_prep.options.captions import TEMPLATE
from lightning_artv.exit_codes import exit_code
from lightning_artv.given import check_weights_given

_WHOLE = ("folder", "shapes")
"""Commands that write all or nothing."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 on success, else an exit code and one sentence on stderr."""
    options = _parser().parse_args(arguments)
    left = "nothing was written" if options.command in _WHOLE else "run it again to go on"
    return exit_code(lambda: _run(options), f"Stopped by Ctrl-C; {left}.")


def _run(options: argparse.Namespace) -> int:
    check_inputs(options.call, options)
    for name in ("pretrained", "captioner", "clip", "ask"):
        weights = getattr(options, name, None)
        check_weights_given(None if weights == TEMPLATE else weights)
    print(call(options.call, options))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="data_prep",
        description="Make WebDataset shards (key.mp4 key.txt key.json) to train on.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        add_command(commands, command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
