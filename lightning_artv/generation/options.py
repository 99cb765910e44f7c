"""The options of `lightning generate`; no torch here, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import unicodedata
from pathlib import Path

from lightning_artv.errors import UserError
from lightning_artv.files import has_surrogates, is_blank
from lightning_artv.generation.storyboard import Shot, read_prompts, read_storyboard
from lightning_artv.options import Parser, add_set, number, positive, size, whole
from lightning_artv.systems.artv.flags import add_flags

DEFAULT_FRAMES = 16


def build_parser() -> argparse.ArgumentParser:
    """The options of `lightning generate`."""
    parser = Parser(
        prog="lightning generate",
        description="Generate videos with a trained checkpoint, frame by frame, at any length.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--checkpoint",
        required=True,
        nargs="+",
        metavar="C",
        help="a checkpoint that `lightning fit` wrote, or a folder that `lightning export` did; or "
        "several, each with parts of a system; temporal super-resolution and a video decoder go "
        "with any system",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--prompt", metavar="P", help="what the video shows")
    what.add_argument(
        "--prompts",
        metavar="FILE",
        help="one prompt per line; --output is a folder, in which finished videos are skipped",
    )
    what.add_argument("--storyboard", metavar="S.yaml", help="a list of {prompt: ..., frames: ...}")
    _add_making(parser)
    return parser


def _add_making(parser: argparse.ArgumentParser) -> None:
    """What a video is made from, and how."""
    add = parser.add_argument
    first = parser.add_mutually_exclusive_group()
    first.add_argument("--image", metavar="F", help="the first frame; default: made from the text")
    names = ("--first-frame-model", "--reference-model")
    first.add_argument(*names, metavar="ID", help="diffusers text-to-image pipeline")
    add("--output", required=True, metavar="OUT", help="x.mp4, x.gif, or a folder")
    add(
        "--overwrite",
        action="store_true",
        help="with --prompts: make videos anew that were made in another way",
    )
    add("--frames", type=positive, metavar="N", help=f"frames (default {DEFAULT_FRAMES})")
    add("--size", type=size, metavar="HxW", help="in pixels (default: as trained)")
    add(
        "--fps",
        type=number(0.01, 1000),
        help="frames per second of the file (default: as trained, else 8)",
    )
    add("--seed", type=whole(), default=0, help="video i uses seed + i (default 0)")
    sampling = parser.add_argument_group("sampling (defaults: those of the checkpoint's system)")
    add_set(sampling, "NAME=VALUE", "change settings of the system: steps=20 guidance.text=7 ...")
    add_flags(sampling)
    add("--weights", choices=["ema", "raw"], default="ema", help="which weights (default ema)")
    add(
        "--preview",
        metavar="ID",
        help="decode with a diffusers AutoencoderTiny (madebyollin/taesd): sooner, less exact",
    )
    add("--device", default="auto", help="cpu, cuda, mps, ... (default: the best there is)")
    add(
        "--precision",
        choices=["auto", "float32", "bfloat16"],
        default="auto",
        help="of the computations (default: bfloat16 on CUDA, else float32)",
    )
    add("--batch-size", type=positive, default=4, help="videos at once, for --prompts (default 4)")


Planned = tuple[int, tuple[Shot, ...], Path]
"""A video's index (its seed is seed + index), shots and output."""


def check_together(options: argparse.Namespace) -> None:
    """Raises:
    UserError: options that contradict each other.
    """
    output = Path(options.output)
    if options.storyboard is not None and options.frames is not None:
        raise UserError("--frames does not go with --storyboard, whose segments say their own.")
    if options.prompt is not None and is_blank(options.prompt):
        raise UserError("--prompt is empty: say what the video shows.")
    if options.prompt is not None and has_surrogates(options.prompt):
        raise UserError("--prompt holds bytes that are no UTF-8: write it in UTF-8.")
    if options.prompts is not None and (output.suffix or output.is_file()):
        raise UserError(
            f"--prompts '{options.prompts}' makes several videos, so --output '{output}' must be a "
            "folder."
        )


def plan(options: argparse.Namespace) -> list[Planned]:
    """The videos that the options describe.

    Raises:
        UserError: options that contradict each other, or an unusable prompts file or storyboard.
    """
    check_together(options)
    output = Path(options.output)
    frames = options.frames or DEFAULT_FRAMES
    if options.storyboard is not None:
        return [(0, read_storyboard(options.storyboard), output)]
    if options.prompt is not None:
        return [(0, (Shot(options.prompt, frames),), output)]
    return [
        (index, (Shot(prompt, frames),), output / f"{index:04d}-{slug(prompt)}.mp4")
        for index, prompt in enumerate(read_prompts(options.prompts))
    ]


def slug(prompt: str, length: int = 40) -> str:
    """A file name from a prompt: the letters (lower-case), marks and digits of every script, with
    dashes between.
    """
    plain = unicodedata.normalize("NFC", prompt.lower())
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in plain)
    return "-".join(kept.split())[:length].rstrip("-") or "video"
