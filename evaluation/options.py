"""The options of `python -m evaluation`; no torch here, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from evaluation.parts.options import add_commands as add_parts_commands
from evaluation.shapes.options import add_commands as add_shapes_commands
from evaluation.studies.options import add_commands as add_ablation_commands
from evaluation.systems.options import add_commands as add_systems_command
from lightning_artv.options import Parser, add_set, positive, size
from lightning_artv.systems.artv.flags import add_flags

DEFAULT_PROTOCOL = "ucf101-2048"
MODES = ("none", "text-to-image", "true-frame")

_REAL = "folder of real videos"
_GENERATION = {"checkpoint": "checkpoint", "data": _REAL, "prompts": "prompts file"}
_RESULTS = {"results": "result: make it with the score command"}
_GRID = {"out": "folder of a grid: run the ablations command first"}
INPUTS: dict[str, dict[str, str]] = {
    "run": _GENERATION,
    "generate": _GENERATION,
    "score": {"data": _REAL, "fake": "folder of generated videos"},
    "compare": _RESULTS,
    "report": _RESULTS,
    "shapes": {"checkpoint": "checkpoint"},
    "tsr": {"checkpoint": "checkpoint", "data": "folder of videos"},
    "decoder": {"checkpoint": "checkpoint", "beside": "checkpoint", "data": "folder of videos"},
    "ablations": {"config": "configuration file"},
    "ablations-report": _GRID,
    "ablations-shots": _GRID,
    "ablations-full": {
        "checkpoints": "folder of checkpoints",
        "data_ucf101": _REAL,
        "data_msrvtt": _REAL,
        "data_webvid": _REAL,
        "prompts": "prompts file",
    },
}
"""Command -> its options that name an input -> what a message calls it."""


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = Parser(
        prog="python -m evaluation",
        description="Measure generated videos under a protocol: FVD, KVD, IS, FID, CLIPSIM, "
        "flicker, drift, motion.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, allow_abbrev=False)

    run = command("run", "generate in the modes of Table 1, score, and report")
    for add in (_protocol, _generation, _scoring):
        add(run)
    run.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="default: all")
    run.add_argument("--name", default="ART•V", help="of the model, for tables")
    run.add_argument("--out", type=Path, required=True, help="folder for videos, results, report")

    generate = command("generate", "make a protocol's videos with a checkpoint; resumable")
    for add in (_protocol, _generation):
        add(generate)
    generate.add_argument("--mode", choices=MODES, default="none", help="the first frame's source")
    generate.add_argument("--out", type=Path, required=True, help="folder for the videos")

    score = command("score", "measure a folder of videos of any model against a real set")
    for add in (_protocol, _scoring):
        add(score)
    score.add_argument("--fake", type=Path, required=True, help="folder of generated videos")
    score.add_argument("--name", help="of the model, for tables (default: the folder's name)")
    score.add_argument("--out", type=Path, required=True, help="result file, such as result.json")

    _add_shown(command)
    add_shapes_commands(command)
    add_parts_commands(command)
    add_systems_command(command)
    ablations_full = add_ablation_commands(command)
    for add in (_changes, _generation, _scoring):
        add(ablations_full)
    return parser


def _add_shown(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """The commands that show what is there."""
    compare = command("compare", "a table of results; refuses those that do not compare")
    compare.add_argument("results", type=Path, nargs="+", help="files of the score command")

    report = command("report", "results beside the paper's Table 1: Markdown, HTML, LaTeX")
    report.add_argument("results", type=Path, nargs="+", help="files of the score command")
    report.add_argument("--out", type=Path, required=True, help="folder for the report")
    report.add_argument("--tensorboard", type=Path, help="folder to write its numbers to")

    weights = command("weights", "list the networks' weight files: present, missing, damaged")
    weights.add_argument("--weights", type=Path, metavar="DIR", help="folder of weight files")

    protocols = command("protocols", "list the protocols, or show one in full")
    protocols.add_argument("name", nargs="?", help="of a protocol")
    _changes(protocols)


def _protocol(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--protocol", default=DEFAULT_PROTOCOL, metavar="P", help=f"default {DEFAULT_PROTOCOL}"
    )
    _changes(parser)
    parser.add_argument("--data", type=Path, required=True, help="the real set's folder")


def _changes(parser: argparse.ArgumentParser, more: str = "") -> None:
    text = "change the protocol: count=8 frames=16 ...; its name gets a *" + more
    add_set(parser, "NAME=VALUE", text)


def _generation(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("generation").add_argument
    if not parser.prog.endswith("ablations-full"):
        text = "a checkpoint that `lightning fit` wrote"
        add("--checkpoint", type=Path, required=True, help=text)
    add("--first-frame-model", metavar="ID", help="diffusers text-to-image folder or hub id")
    add("--prompts", type=Path, metavar="FILE", help="class sentences instead of ours")
    add("--devices", type=positive, default=1, metavar="N", help="share the videos out over N")
    add("--size", type=size, metavar="HxW", help="in pixels (default: as trained)")
    sampling = parser.add_argument_group("sampling (defaults: the checkpoint's; --set names more)")
    add_flags(sampling, clip="--clip-latents")
    add("--checkpoint-weights", choices=["ema", "raw"], default="ema")
    add("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    add("--generation-batch", type=positive, default=4, metavar="B", help="videos at once")
    if parser.prog.endswith("generate"):
        add("--device", default="auto", help="cpu, cuda, mps, ... (default: the best there is)")


def _scoring(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("scoring").add_argument
    add("--weights", type=Path, metavar="DIR", help="folder of weight files (see `weights`)")
    for name in ("i3d", "c3d", "c3d-mean", "inception"):
        add(f"--{name}", type=Path, metavar="FILE", help=f"the {name} weights, wherever they are")
    add("--clip", metavar="ID", help="CLIP folder or hub id (default: the protocol's)")
    add(
        "--random-features",
        type=int,
        metavar="SEED",
        help="random networks, to try things out; metrics are then called random-FVD, ...",
    )
    add("--scoring-batch", type=positive, default=8, metavar="B", help="videos at once")
    add("--cache", type=Path, metavar="DIR", help="for statistics of real sets")
    add("--device", default="auto", help="cpu, cuda, mps, ... (default: the best there is)")
