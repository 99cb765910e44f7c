"""`python -m evaluation`: measure generated videos, and say under which protocol.

Each command's code is imported only when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from evaluation.options import INPUTS, build_parser
from evaluation.protocols import PRESETS, get_protocol
from lightning_artv.exit_codes import exit_code
from lightning_artv.given import check_given, check_weights_given

STOPPED = "Stopped by Ctrl-C; what was finished is kept, and the same command goes on from there."


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
    if options.command in ("run", "generate", "score"):
        from evaluation import commands

        run = {"run": commands.run, "generate": commands.generate, "score": commands.score}
        return run[options.command](options)
    if options.command in ("shapes", "shapes-classifier"):
        from evaluation.shapes import commands as shapes

        return {"shapes": shapes.benchmark, "shapes-classifier": shapes.classifier}[
            options.command
        ](options)
    if options.command == "ablations":
        from evaluation.studies import command

        return command.run(options)
    if options.command == "ablations-report":
        from evaluation.studies import command

        return command.report(options)
    if options.command == "ablations-shots":
        from evaluation.studies.shots import take
        from evaluation.studies.study import find_study

        take(options.out / "tensorboard", options.out / "shots", find_study(options.study))
        return 0
    if options.command == "ablations-full":
        from evaluation.studies import full_size

        return full_size.run(options)
    if options.command == "compare":
        from evaluation.compare import compare

        print(compare(options.results), end="")
    elif options.command == "report":
        from evaluation.report.write import write_report
        from evaluation.result import Result

        results = [Result.load(path) for path in options.results]
        for path in write_report(results, options.out, tensorboard=options.tensorboard):
            print(path)
    elif options.command == "weights":
        from evaluation.weights import describe

        print(describe(options.weights))
    else:
        print(_protocols(options), end="")
    return 0


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
