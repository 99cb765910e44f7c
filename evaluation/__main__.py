"""`python -m evaluation`: measure generated videos, and say under which protocol.

Each command's code is imported only when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from evaluation.options import INPUTS, build_parser
from evaluation.protocols import PRESETS, get_protocol
from lightning_artv.exit_codes import exit_code
from lightning_artv.given import check_given, check_weights_given

STOPPED = "Stopped by Ctrl-C; what was finished is kept, and the same command goes on from there."


ELSEWHERE = {
    "run": "evaluation.commands.run",
    "generate": "evaluation.commands.generate",
    "score": "evaluation.commands.score",
    "shapes": "evaluation.shapes.commands.benchmark",
    "shapes-classifier": "evaluation.shapes.commands.classifier",
    "systems": "evaluation.systems.job.command",
    "tsr": "evaluation.parts.tsr.command",
    "decoder": "evaluation.parts.decoder.command",
    "ablations": "evaluation.studies.command.run",
    "ablations-report": "evaluation.studies.command.report",
    "ablations-shots": "evaluation.studies.command.shots",
    "ablations-full": "evaluation.studies.full_size.run",
}
"""Command -> its code, imported only when it runs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, else an exit code and one sentence on stderr."""
    return exit_code(lambda: dispatch(build_parser().parse_args(arguments)), STOPPED)


def dispatch(options: argparse.Namespace) -> int:
    """Hand the options to the command's code.

    Raises:
        UserError: whatever the user can mend.
    """
    check_given(options, INPUTS.get(options.command, {}))
    check_weights_given(getattr(options, "first_frame_model", None), "text-to-image pipeline")
    if options.command in ELSEWHERE:
        module, _, name = ELSEWHERE[options.command].rpartition(".")
        run: Callable[[argparse.Namespace], int] = getattr(import_module(module), name)
        return run(options)
    print(_shown(options), end="")
    return 0


def _shown(options: argparse.Namespace) -> str:
    """What the commands that only show something print."""
    if options.command == "compare":
        from evaluation.compare import compare

        return compare(options.results)
    if options.command == "report":
        from evaluation.report.write import write_report
        from evaluation.result import Result

        results = [Result.load(path) for path in options.results]
        paths = write_report(results, options.out, tensorboard=options.tensorboard)
        return "".join(f"{path}\n" for path in paths)
    if options.command == "weights":
        from evaluation.weights import describe

        return describe(options.weights)
    return _protocols(options)


def _protocols(options: argparse.Namespace) -> str:
    if options.name is None:
        lines = [f"{name:14} {p.hash[:12]}  {p.source}\n" for name, p in PRESETS.items()]
        return "".join(lines)
    protocol = get_protocol(options.name).with_changes(
        ["=".join(change) for change in options.changes]
    )
    lines = [f"{protocol.name} {protocol.hash}\n{protocol.source}\n"]
    for name, value in protocol.settings().items():
        assumed = f"  (assumed: {protocol.assumed[name]})" if name in protocol.assumed else ""
        lines.append(f"  {name}: {value}{assumed}\n")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
