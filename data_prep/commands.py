"""The steps of `python -m data_prep` from raw videos to checked shards: their options.

Options that are not given are not set, so that the dataclasses of the steps hold the defaults.
Each step's code is imported only when it runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

KINDS = ("webvid", "openvid", "folder", "video2dataset", "ucf101", "msrvtt")

_TABLE = {"table": "table: run the step that makes it first"}
INPUTS: dict[str, dict[str, str]] = {
    "run": {"recipe": "recipe"},
    "folder": {"source": "folder"},
    "motion": {"source": "list or folder", "videos": "folder of videos"},
    "clip": _TABLE,
    "select": _TABLE,
    "shards": _TABLE,
    "check": {"folder": "folder of shards", "repair": "table"},
    "report": {"folder": "folder that `run` wrote"},
}
"""Command -> its options that name an input -> what a message calls it."""

Parsers = Any  # argparse keeps the class of its sub-parsers private


def add_steps(commands: Parsers) -> None:
    """Add the steps' parsers; each sets `call`, a function of the parsed options."""
    _add_run(commands)
    _add_motion(commands)
    _add_clip(commands)
    _add_select(commands)
    _add_shards(commands)
    _add_latents(commands)
    _add_check(commands)
    _add_report(commands)


def _step(commands: Parsers, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, argument_default=argparse.SUPPRESS, description=text, allow_abbrev=False
    )
    return parser


def _add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who works")
    group.add_argument("--engine", dest="kind_of_engine", choices=("local", "ray"))
    group.add_argument("--processes", type=int, help="default: one a CPU core")
    group.add_argument("--timeout", type=float, help="seconds a video may take (default 600)")
    group.add_argument("--gpus", type=float, help="of each Ray actor (default 0)")


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    text = "make what was made with other options or input again"
    parser.add_argument("--overwrite", action="store_true", default=False, help=text)


def _add_run(commands: Parsers) -> None:
    parser = _step(commands, "run", "all of it, from one YAML; what is done is not done again")
    parser.add_argument("recipe", type=Path, help="such as data_prep/example.yaml")
    _add_overwrite(parser)
    parser.set_defaults(call=_run)


def _add_motion(commands: Parsers) -> None:
    text = "list a source and measure motion, cuts, brightness, ... in one decode"
    parser = _step(commands, "motion", text)
    parser.add_argument("source", type=Path, help="the CSV or JSON, or the folder")
    parser.add_argument("out", type=Path, help="the Parquet table to write")
    parser.add_argument("--kind", choices=KINDS, required=True, help="of the source")
    parser.add_argument("--videos", type=Path, help="folder of the videos that a CSV lists")
    parser.add_argument("--step", type=int, help="score every how many frames (default 1)")
    parser.add_argument("--cut-threshold", type=float, help="content score of a cut (default 27)")
    _add_engine(parser)
    _add_overwrite(parser)
    parser.set_defaults(call=_motion)


def _add_clip(commands: Parsers) -> None:
    parser = _step(commands, "clip", "score captions by CLIP")
    parser.add_argument("table", type=Path, help="of the step motion")
    parser.add_argument("out", type=Path, help="the Parquet table to write")
    parser.add_argument("--pretrained", help="hub id or folder (default ViT-B/32)")
    parser.add_argument("--revision", help="of the hub id")
    parser.add_argument("--frames", type=int, help="of each video")
    parser.add_argument("--batch-size", type=int, help="frames a pass of the model")
    parser.add_argument("--device", help="such as cpu or cuda")
    _add_engine(parser)
    _add_overwrite(parser)
    parser.set_defaults(call=_clip)


def _add_select(commands: Parsers) -> None:
    parser = _step(commands, "select", "decide what to keep; quick, so it is always up to date")
    parser.add_argument("table", type=Path, help="of the steps motion and clip")
    parser.add_argument("out", type=Path, help="the Parquet table to write")
    window = parser.add_mutually_exclusive_group()
    window.add_argument(
        "--motion", type=_window, metavar="LOW:HIGH", help="(default 1:20, the paper's)"
    )
    window.add_argument("--any-motion", dest="motion", action="store_const", const=None)
    best = parser.add_mutually_exclusive_group()
    best.add_argument("--count", type=int, help="keep so many, the best by CLIP")
    best.add_argument("--share", type=float, help="keep this share, the best by CLIP")
    parser.add_argument(
        "--filter",
        dest="filters",
        action="append",
        type=_filter,
        metavar="COLUMN=LOW:HIGH",
        help="keep only what lies in the window, such as watermark=:0.5; may be repeated",
    )
    twice = parser.add_mutually_exclusive_group()
    twice.add_argument("--distance", type=int, help="bits of phash of duplicates (default 6)")
    twice.add_argument("--keep-duplicates", dest="distance", action="store_const", const=None)
    parser.add_argument("--held-out", type=float, help="share that is held out (default 0)")
    parser.set_defaults(call=_select)


def _add_shards(commands: Parsers) -> None:
    parser = _step(commands, "shards", "write what was selected as shards to train on")
    parser.add_argument("table", type=Path, help="of the step select")
    parser.add_argument("out", type=Path, help="folder; gets train/ and held_out/")
    parser.add_argument("--size", type=int, help="pixels of the short side (default 320)")
    parser.add_argument("--fps", type=float, help="thin faster videos out (default: keep all)")
    parser.add_argument("--gop", type=int, help="frames between keyframes (default 24)")
    parser.add_argument("--crf", type=int, help="x264's rate factor (default 18)")
    parser.add_argument("--preset", help="x264's (default medium)")
    parser.add_argument("--cut", action="store_true", help="a clip for each scene")
    parser.add_argument("--min-seconds", type=float, help="of a scene (default 1)")
    full = parser.add_mutually_exclusive_group()
    full.add_argument("--samples", type=int, help="a shard (default 1000)")
    full.add_argument("--megabytes", type=float, help="a shard, instead")
    _add_engine(parser)
    _add_overwrite(parser)
    parser.set_defaults(call=_shards)


def _add_latents(commands: Parsers) -> None:
    text = "encode shards of videos once; training reads the result in their place"
    parser = _step(commands, "latents", text)
    parser.add_argument("shards", help="folder, brace pattern or tar, such as shards/train")
    parser.add_argument("out", type=Path, help="folder for the shards of latents")
    parser.add_argument("--pretrained", required=True, help="Stable Diffusion: folder or hub id")
    parser.add_argument("--size", type=int, default=320, help="as data.size (default 320)")
    parser.add_argument("--fps", type=float, default=8.0, help="as data.fps (default 8)")
    parser.add_argument("--all-frames", dest="fps", action="store_const", const=None)
    parser.add_argument("--device", default="auto", help="cpu, cuda, ... (default: the best)")
    parser.add_argument("--batch-size", type=int, default=16, help="frames a pass (default 16)")
    parser.add_argument(
        "--without-captions", action="store_true", default=False, help="take a set that has none"
    )
    parser.set_defaults(call=_latents)


def _add_check(commands: Parsers) -> None:
    parser = _step(commands, "check", "verify shards: sha256, decoding, keyframes, captions")
    parser.add_argument("folder", type=Path, help="such as shards/train")
    parser.add_argument("--quick", action="store_true", default=False, help="sizes and sha256 only")
    parser.add_argument(
        "--repair", type=Path, metavar="TABLE", default=None, help="re-make what is broken from it"
    )
    _add_engine(parser)
    parser.set_defaults(call=_check)


def _add_report(commands: Parsers) -> None:
    parser = _step(commands, "report", "one HTML page about a folder that `run` wrote")
    parser.add_argument("folder", type=Path, help="the recipe's `out`")
    parser.set_defaults(call=_report)


def _window(text: str) -> tuple[float | None, float | None]:
    low, colon, high = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"a window is LOW:HIGH, either may be empty, not {text!r}")
    return (float(low) if low else None, float(high) if high else None)


def _filter(text: str) -> tuple[str, tuple[float | None, float | None]]:
    name, equals, window = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"a filter is COLUMN=LOW:HIGH, not {text!r}")
    return name, _window(window)


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the options that were given."""
    return {name: getattr(options, name) for name in names if hasattr(options, name)}


def _engine(options: argparse.Namespace) -> Any:
    from data_prep.engine import EngineOptions

    kind = _given(options, "kind_of_engine").get("kind_of_engine", "local")
    return EngineOptions(kind=kind, **_given(options, "processes", "timeout", "gpus"))


def _run(options: argparse.Namespace) -> int:
    from data_prep.run import load_recipe, run

    print(run(load_recipe(options.recipe), options.overwrite))
    return 0


def _motion(options: argparse.Namespace) -> int:
    from data_prep.measure.analyse import AnalyseOptions
    from data_prep.pipeline import motion_step

    motion_step(
        (options.kind, options.source, getattr(options, "videos", None)),
        options.out.with_name(options.out.stem + ".listing.parquet"),
        options.out,
        AnalyseOptions(**_given(options, "step", "cut_threshold")),
        _engine(options),
        options.overwrite,
    )
    return _tell(options.out)


def _clip(options: argparse.Namespace) -> int:
    from data_prep.measure.clip_score import ClipOptions
    from data_prep.pipeline import clip_step

    names = ("pretrained", "revision", "frames", "batch_size", "device")
    wanted = ClipOptions(**_given(options, *names))
    clip_step(options.table, options.out, wanted, _engine(options), options.overwrite)
    return _tell(options.out)


def _select(options: argparse.Namespace) -> int:
    from data_prep.selection.select import SelectOptions, select

    given = _given(options, "motion", "count", "share", "distance", "held_out")
    filters = dict(getattr(options, "filters", []))
    select(options.table, options.out, SelectOptions(**given, filters=filters))
    return _tell(options.out, "decision")


def _shards(options: argparse.Namespace) -> int:
    from data_prep.pipeline import shards_step
    from data_prep.shards.accounts import summary
    from data_prep.shards.write import ShardOptions

    names = ("size", "fps", "gop", "crf", "preset", "cut", "min_seconds", "samples", "megabytes")
    wanted = ShardOptions(**_given(options, *names))
    accounts = shards_step(options.table, options.out, wanted, _engine(options), options.overwrite)
    print(summary(accounts))
    return 0


def _latents(options: argparse.Namespace) -> int:
    from data_prep.shards.latents import open_autoencoder, write_latents
    from lightning_artv.generate import choose_device

    size, fps, batch = (options.size, options.size), options.fps, options.batch_size
    device = choose_device(options.device)
    autoencoder, wanted = open_autoencoder(options.pretrained, size, fps, device, batch)
    captions = not options.without_captions
    print(write_latents(options.shards, options.out, autoencoder, wanted, batch, captions))
    return 0


def _check(options: argparse.Namespace) -> int:
    from data_prep.pipeline import check_step

    check_step(options.folder, _engine(options), options.quick, options.repair)
    return 0


def _report(options: argparse.Namespace) -> int:
    from data_prep.report import write_report

    print(f"Wrote {write_report(options.folder)}.")
    return 0


def _tell(table: Path, column: str = "status") -> int:
    from data_prep.pipeline import counts

    print(f"{table}: {counts(table, column)}.")
    return 0
