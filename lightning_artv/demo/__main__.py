"""`python -m lightning_artv.demo`: the whole product, small, on two cores, with no download or GPU.

The model that ships learns a colour that it has never seen (`--lesson color`); `scratch` trains one
from random weights instead, `vidrd` and `videogen` other systems.

Each stage is skipped where its result is there, so an interrupted demo goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from lightning_artv.exit_codes import exit_code
from lightning_artv.given import check_given
from lightning_artv.training.renamed import today

STOPPED = "Stopped by Ctrl-C; run the same command again to go on from here."


def main(arguments: list[str] | None = None) -> int:
    """Run all stages and say where to look."""
    options = _parser().parse_args(arguments)
    return exit_code(lambda: _run(options), STOPPED)


def _run(options: argparse.Namespace) -> int:
    if options.config is not None:
        options.config = today(options.config)
    check_given(options, {"config": "configuration file"})
    from lightning_artv.demo.stages import LESSONS, Demo

    lesson = LESSONS["scratch" if options.scratch else options.lesson]
    given = {"config": options.config, "clips": options.train_clips}
    lesson = replace(lesson, **{name: value for name, value in given.items() if value is not None})
    Demo(options.out, lesson, options.heldout_clips).run(options.override)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lightning_artv.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/demo"))
    parser.add_argument(
        "--lesson",
        choices=("color", "scratch", "vidrd", "videogen"),
        default="color",
        help="what is trained",
    )
    parser.add_argument("--scratch", action="store_true", help="the same as --lesson scratch")
    parser.add_argument("--config", type=Path, help="of another training of the kind")
    parser.add_argument(
        "--train-clips", type=int, help="of each set (default: 300; without a model 3000)"
    )
    parser.add_argument("--heldout-clips", type=int, default=64)
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="passed to `lightning fit`, such as --override trainer.max_steps=50",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
