"""The commands `shapes` and `shapes-classifier`."""

from __future__ import annotations

import argparse
import dataclasses
import sys

from evaluation.shapes.benchmark import RESULT, Benchmark, run
from evaluation.shapes.classifier import about_path
from evaluation.shapes.train_classifier import Training, train
from lightning_artv.generation.command import choose_device
from lightning_artv.systems.artv.flags import given_settings

READ_WELL = 0.9


def benchmark(options: argparse.Namespace) -> int:
    """`shapes`: print the metrics and where they are."""
    given = {f.name: getattr(options, f.name, None) for f in dataclasses.fields(Benchmark)}
    result = run(Benchmark(**given | {"settings": given_settings(options, options.changes)}))
    for name, value in result["metrics"].items():
        print(f"{name:24} {'-' if value is None else format(value, '.4g')}")
    print(options.out / RESULT)
    return 0


def classifier(options: argparse.Namespace) -> int:
    """`shapes-classifier`: print the accuracy and where it is."""
    names = ("size", "worlds", "steps")
    given = {n: value for n in names if (value := getattr(options, n)) is not None}
    made = train(options.out, Training(**given), str(choose_device(options.device)))
    for name, value in made.accuracy.items():
        print(f"{name:10} {100 * value:.1f} % right")
    if weak := [name for name, value in made.accuracy.items() if value < READ_WELL]:
        print(
            f"note: {' and '.join(weak)} are read rightly on fewer than {100 * READ_WELL:.0f} % of "
            "held-out worlds, so shapes-FVD is half blind to them: train longer.",
            file=sys.stderr,
        )
    print(options.out, about_path(options.out))
    return 0
