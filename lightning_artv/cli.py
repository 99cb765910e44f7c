"""The `lightning` command: `fit | validate | test | predict | generate | export |
consolidate`.

Nothing heavy is imported before the subcommand is known, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence

from lightning_artv.errors import UserError

TRAINING = ("fit", "validate", "test", "predict")

STOPPED = "Stopped by Ctrl-C; what was finished before is complete and kept."

HELP = """\
usage: lightning COMMAND [options]

Train ART•V, an auto-regressive text-to-video diffusion model, and generate videos with it.

commands:
  fit          train a model
  validate     compute the validation loss, with the same noise and timesteps every time
  test         the same on the test data
  predict      generate a clip from each held-out sample's anchor frame
  generate     make videos from text, and optionally a first frame, with a trained checkpoint
  export       write a trained checkpoint as a folder that diffusers and others read
  consolidate  make one file of a sharded checkpoint

examples:
  lightning fit --config configs/demo.yaml
  lightning fit --config configs/artv.yaml --config my.yaml --trainer.max_steps 1000 --model.lr 2e-5
  lightning fit --config configs/demo.yaml --ckpt_path last
  lightning generate --checkpoint last.ckpt --prompt "a red circle moves right" --output video.mp4
  lightning export --checkpoint last.ckpt --output my-artv

`lightning COMMAND --help` shows a command's options; `--print_config` shows the whole
configuration.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; a user's errors are one line on stderr."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return dispatch(arguments)
    except UserError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail(STOPPED, 130)
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        return _fail(STOPPED, 130)  # Lightning turns Ctrl-C during training into exit 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = f" while writing '{error.filename}'" if error.filename else ""
        return _fail(f"The disk is full{where}: free some space and run the command again.", 2)


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
    if command == "generate":
        from lightning_artv.generate_options import build_parser

        options = build_parser().parse_args(arguments[1:])  # before anything heavy is imported
        from lightning_artv import generate

        return generate.run(options)
    if command == "export":
        from lightning_artv.export_options import build_parser as build_export_parser

        options = build_export_parser().parse_args(arguments[1:])
        from lightning_artv import export

        return export.run(options)
    if command == "consolidate":
        from lightning_artv.training import consolidate

        return consolidate.run(consolidate.build_parser().parse_args(arguments[1:]))
    if command in TRAINING:
        from lightning_artv.training import command as training_command

        training_command.run(arguments)
        return 0
    raise UserError(_unknown(command))


def _unknown(command: str) -> str:
    import difflib

    names = (*TRAINING, "generate", "export", "consolidate")
    close = difflib.get_close_matches(command, names, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"use one of {', '.join(names)}."
    return f"There is no command '{command}'; {hint}"


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
