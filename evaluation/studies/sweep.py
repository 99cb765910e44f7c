"""`python -m evaluation.studies.sweep`: the benchmark for each value of one setting.

One process for all values: starting one takes longer than a value.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from evaluation.shapes.benchmark import RESULT, Benchmark, run
from lightning_artv.errors import UserError
from lightning_artv.numbers import whole_number


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing; the exit code of the first value that cannot be measured, or 0."""
    options = _parser().parse_args(arguments)
    codes = []
    for value in options.values:
        folder = options.out / f"{options.name}_{value}"
        if (folder / RESULT).is_file():
            continue
        print(f"{options.setting} {value}", flush=True)
        try:
            run(
                Benchmark(
                    checkpoint=options.checkpoint,
                    classifier=options.classifier,
                    out=folder,
                    clips=options.clips,
                    long_clips=0,
                    settings={options.setting: value},
                )
            )
        except UserError as error:
            print(f"error: {options.setting} {value}: {error}", file=sys.stderr)
            codes.append(error.exit_code)
    return codes[0] if codes else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evaluation.studies.sweep")
    for name in ("checkpoint", "classifier", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--clips", type=int, required=True)
    parser.add_argument("--name", required=True, help="results go to OUT/NAME_VALUE")
    parser.add_argument("--setting", required=True)
    parser.add_argument("--values", type=_value, nargs="+", required=True)
    return parser


def _value(text: str) -> int | float:
    number = whole_number(text)
    return float(text) if number is None else number


if __name__ == "__main__":
    sys.exit(main())
