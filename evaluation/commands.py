"""The commands that generate and score."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from evaluation.compare import row_name, title
from evaluation.generate import Generation, choose_devices
from evaluation.generate import generate as make_videos
from evaluation.inspection import inspect
from evaluation.meters import Weights
from evaluation.notes import quiet
from evaluation.protocols import CHANGEABLE, Protocol, get_protocol
from evaluation.reference import DEFAULT_CACHE
from evaluation.report.content import summary
from evaluation.report.write import write_report
from evaluation.result import Result
from evaluation.score import Scoring
from evaluation.score import score as measure
from evaluation.sets import read_split, sampled
from evaluation.videos import ClipRule
from lightning_artv.errors import MissingWeightsError
from lightning_artv.generation.command import choose_device
from lightning_artv.systems.artv.flags import given_settings

RESULT = "result.json"


def generate(options: argparse.Namespace) -> int:
    """`generate`: print the folder of the videos."""
    print(make(options, options.mode, options.out))
    return 0


def score(options: argparse.Namespace) -> int:
    """`score`: write the result file and print its numbers; 3 where weights were missing."""
    result = measure(_scoring(options, options.fake, options.name or options.fake.name))
    result.save(options.out)
    print(f"{summary(result)}{options.out}")
    return exit_code([result])


def run(options: argparse.Namespace) -> int:
    """`run`: all modes, then the report; a mode without a text-to-image model is skipped.

    3 where weights of networks were missing, after all that could be done was done.
    """
    protocol = _protocol(options)
    reals = sampled(protocol, read_split(protocol, options.data, quiet), protocol.real_count)
    inspect(reals, ClipRule.real(protocol), "real")  # before hours of generation
    results, skipped = [], {}
    for mode in options.modes:
        try:
            folder = make(options, mode, options.out / mode)
        except MissingWeightsError as error:
            if mode != "text-to-image":
                raise
            print(f"note: {mode} is skipped: {error}", file=sys.stderr)
            skipped[row_name(options.name, mode)] = str(error)
            continue
        result = measure(_scoring(options, folder, options.name))
        result.save(folder / RESULT)
        print(f"{title(result)}\n{summary(result)}")
        results.append(result)
    report = write_report(results, options.out, skipped, options.out / "tensorboard")
    print("\n".join(str(path) for path in report))
    return exit_code(results)


def make(options: argparse.Namespace, mode: str, folder: Path) -> Path:
    """Make what is missing of a mode's videos in `folder`, and return it."""
    job = _generation(options, mode, folder)
    return make_videos(job, choose_devices(options.devices, options.device))


def measured_once(options: argparse.Namespace, folder: Path) -> Result:
    """The result in a folder of videos, measured unless it is there: complete, under the protocol,
    and with networks of the kind that is asked for.
    """
    path, protocol = folder / RESULT, _protocol(options)
    if path.is_file():
        there = Result.load(path)
        seeds = {m.weights["random seed"] for m in there.measurements if "random seed" in m.weights}
        asked = set() if options.random_features is None else {str(options.random_features)}
        metrics = tuple(m.metric for m in there.measurements)
        same = there.name == options.name and metrics == protocol.metrics
        if (
            same
            and there.protocol["hash"] == protocol.hash
            and seeds <= asked
            and not there.missing
        ):
            return there
    result = measure(_scoring(options, folder, options.name))
    result.save(path)
    return result


def _generation(options: argparse.Namespace, mode: str, out: Path) -> Generation:
    sampling = given_settings(options, (c for c in options.changes if c[0] not in CHANGEABLE))
    return Generation(
        protocol=_protocol(options),
        checkpoint=options.checkpoint,
        data=options.data,
        out=out,
        mode=mode,
        first_frame_model=options.first_frame_model,
        prompts=options.prompts,
        size=options.size,
        sampling=tuple(sampling.items()),
        weights=options.checkpoint_weights,
        precision=options.precision,
        batch_size=options.generation_batch,
    )


def _scoring(options: argparse.Namespace, fake: Path, name: str) -> Scoring:
    device = choose_device(options.device)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return Scoring(
        protocol=_protocol(options),
        real=options.data,
        fake=fake,
        name=name,
        weights=Weights(
            folder=options.weights,
            i3d=options.i3d,
            c3d=options.c3d,
            c3d_mean=options.c3d_mean,
            inception=options.inception,
            clip=options.clip,
            random_seed=options.random_features,
        ),
        device=device,
        batch_size=options.scoring_batch,
        cache=options.cache or Path(DEFAULT_CACHE).expanduser(),
    )


def _protocol(options: argparse.Namespace) -> Protocol:
    """The protocol that the options name; the rest of `--set` is the system's, if there is one."""
    has_system = hasattr(options, "checkpoint_weights")
    changes = [c for c in options.changes if c[0] in CHANGEABLE or not has_system]
    return get_protocol(options.protocol).with_changes(["=".join(change) for change in changes])


def exit_code(results: Sequence[Result]) -> int:
    """3 where weights were missing, which is said once per network on stderr."""
    reasons = dict.fromkeys(m.reason for result in results for m in result.missing)
    for reason in reasons:
        print(f"error: {reason}", file=sys.stderr)
    return MissingWeightsError.exit_code if reasons else 0
