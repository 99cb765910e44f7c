"""The `lightning` command: `fit | validate | test | predict | generate | export |
consolidate`.

Nothing heavy is imported before the subcommand is known, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from lightning_artv.errors import UserError
from lightning_artv.exit_codes import exit_code
from lightning_artv.given import check_given, check_training, check_weights_given

TRAINING = ("fit", "validate", "test", "predict")

INPUTS = {
    "checkpoint": "checkpoint",
    "prompts": "prompts file",
    "storyboard": "storyboard",
    "image": "image",
}
"""Options that name an input -> what a message calls it."""

STOPPED = "Stopped by Ctrl-C; what was finished before is complete and kept."

HELP = """\
usage: lightning COMMAND [options]

Train ART•V, an auto-regressive text-to-video diffusion model, and generate videos with it.

commands:
  fit          train a model
  validate     compute the validation loss, with the same noise and timesteps every time
  test         the same on the test data
  predict      generate a clip for each held-out sample
  generate     make videos from text, and optionally a first frame, with a trained checkpoint
  export       write a trained checkpoint as a folder that diffusers and others read
  consolidate  make one file of a sharded checkpoint

examples:
  lightning fit --config configs/artv/demo.yaml
  lightning fit --config configs/artv/train.yaml --config my.yaml --model.lr 2e-5
  lightning fit --config configs/artv/demo.yaml --ckpt_path last
  lightning generate --checkpoint last.ckpt --prompt "a red circle moves right" --output video.mp4
  lightning export --checkpoint last.ckpt --output my-artv

`lightning COMMAND --help` shows a command's options; `--print_config` shows the whole
configuration.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; a user's errors are one line on stderr."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code(lambda: dispatch(arguments), STOPPED)


def dispatch(arguments: list[str]) -> int:
    """Hand the arguments to the subcommand's module.

    Raises:
        UserError: no such subcommand.
    """
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if command == "--version":
        from importlib.metadata import version

        print(version("lightning-artv"))
        return 0
    if command not in COMMANDS:
        raise UserError(_unknown(command))
    return COMMANDS[command](arguments)


def _generate(arguments: list[str]) -> int:
    from lightning_artv.generation.options import build_parser, check_together, plan

    options = build_parser().parse_args(arguments[1:])
    check_together(options)
    check_given(options, INPUTS)
    check_weights_given(options.first_frame_model, "text-to-image pipeline")
    plan(options)
    from lightning_artv.generation import command

    return command.run(options)


def _export(arguments: list[str]) -> int:
    from lightning_artv.pipelines.options import build_parser

    options = build_parser().parse_args(arguments[1:])
    check_given(options, INPUTS)
    from lightning_artv.pipelines import command

    return command.run(options)


def _consolidate(arguments: list[str]) -> int:
    from lightning_artv.checkpoints import consolidate

    options = consolidate.build_parser().parse_args(arguments[1:])
    check_given(options, INPUTS)
    return consolidate.run(options)


def _train(arguments: list[str]) -> int:
    check_training(arguments)
    from lightning_artv.training.extends import expand

    expand(arguments)
    from lightning_artv.training import command

    command.run(arguments)
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    **dict.fromkeys(TRAINING, _train),
    "generate": _generate,
    "export": _export,
    "consolidate": _consolidate,
}
"""Name -> what runs it; each checks its options before it imports anything heavy."""


def _unknown(command: str) -> str:
    import difflib

    close = difflib.get_close_matches(command, COMMANDS, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"use one of {', '.join(COMMANDS)}."
    return f"There is no command '{command}'; {hint}"


if __name__ == "__main__":
    sys.exit(main())
