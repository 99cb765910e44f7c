"""The options of `lightning generate`; no torch here, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import math
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from lightning_artv.errors import UserError, check_number
from lightning_artv.files import has_surrogates
from lightning_artv.generation.storyboard import Shot, read_prompts, read_storyboard

DEFAULT_FRAMES = 16


class Parser(argparse.ArgumentParser):
    """Raises a UserError where argparse prints its usage."""

    def error(self, message: str) -> NoReturn:
        """Raises:
        UserError: always.
        """
        raise UserError(f"{message[0].upper()}{message[1:]}; see `{self.prog} --help`.")


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
        metavar="C",
        help="a checkpoint that `lightning fit` wrote, or a folder that `lightning export` did",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--prompt", metavar="P", help="what the video shows")
    what.add_argument(
        "--prompts",
        metavar="FILE",
        help="one prompt a line; --output is a folder, in which finished videos are skipped",
    )
    what.add_argument("--storyboard", metavar="S.yaml", help="a list of {prompt: ..., frames: ...}")
    first = parser.add_mutually_exclusive_group()
    first.add_argument("--image", metavar="F", help="the first frame; default: made from the text")
    first.add_argument("--first-frame-model", metavar="ID", help="diffusers text-to-image pipeline")
    add("--output", required=True, metavar="OUT", help="x.mp4, x.gif, or a folder")
    add(
        "--overwrite",
        action="store_true",
        help="with --prompts: make videos anew that were made in another way",
    )
    add("--frames", type=_positive, metavar="N", help=f"frames (default {DEFAULT_FRAMES})")
    add("--size", type=_size, metavar="HxW", help="in pixels (default: as trained)")
    add(
        "--fps",
        type=_number(0.01, 1000),
        help="frames a second of the file (default: as trained, else 8)",
    )
    add("--seed", type=_whole(), default=0, help="video i uses seed + i (default 0)")
    _add_sampling(parser)
    add("--weights", choices=["ema", "raw"], default="ema", help="which weights (default ema)")
    add("--device", default="auto", help="cpu, cuda, mps, ... (default: the best there is)")
    add(
        "--precision",
        choices=["auto", "float32", "bfloat16"],
        default="auto",
        help="of the computations (default: bfloat16 on CUDA, else float32)",
    )
    add("--batch-size", type=_positive, default=4, help="videos at once, for --prompts (default 4)")
    return parser


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    sampling = parser.add_argument_group("sampling (defaults: those of the checkpoint's system)")
    add = sampling.add_argument
    add("--steps", type=_positive, help="denoising steps a frame")
    add("--sampler", choices=["ddim", "dpm-solver++"], help="how noise is removed")
    add("--guidance", type=_guidance, metavar="R,A,T", help="references, anchor and text weights")
    add("--guidance-references", type=_number(), metavar="R", help="weight of the references alone")
    add("--guidance-anchor", type=_number(), metavar="A", help="weight of the anchor frame alone")
    add("--guidance-text", type=_number(), metavar="T", help="weight of the text alone")
    add("--noise-level", type=_whole(0), help="noise on references and anchor (t_test, Sec. 3.3)")
    add("--clip", type=_number(1e-6), help="clamp predicted clean latents to [-CLIP, CLIP]")
    add("--segment-anchor", action="store_true", help="anchor each storyboard segment on its start")


Planned = tuple[int, tuple[Shot, ...], Path]
"""A video's index (its seed is seed + index), shots and output."""


def check_together(options: argparse.Namespace) -> None:
    """Raises:
    UserError: options that contradict each other.
    """
    output = Path(options.output)
    if options.storyboard is not None and options.frames is not None:
        raise UserError("--frames does not go with --storyboard, whose segments say their own.")
    if options.prompt is not None and not options.prompt.strip():
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


def _whole(least: int | None = None) -> Callable[[str], int]:
    """A type for argparse: whole numbers in ASCII digits, from `least` on."""

    def parse(text: str) -> int:
        found = re.fullmatch(r"[+-]?[0-9]{1,4000}", text.strip())
        if not found or (least is not None and int(text) < least):
            limit = "" if least is None else " above 0" if least == 1 else f" from {least}"
            raise argparse.ArgumentTypeError(f"must be a whole number{limit}, got '{text}'")
        return int(text)

    return parse


_positive = _whole(1)


def _number(least: float = -math.inf, most: float = math.inf) -> Callable[[str], float]:
    """A type for argparse: finite numbers from `least` to `most`."""

    def parse(text: str) -> float:
        try:
            value = float(text if text.isascii() else "nan")
            check_number("it", value, least, most)
        except (ValueError, UserError) as error:
            bounds = f" from {least:g}" * (least > -math.inf) + f" to {most:g}" * (most < math.inf)
            raise argparse.ArgumentTypeError(
                f"must be a finite number{bounds}, got '{text}'"
            ) from error
        return value

    return parse


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be HEIGHTxWIDTH, such as 320x320, got '{text}'")
    return int(found.group(1)), int(found.group(2))


def _guidance(text: str) -> tuple[float, float, float]:
    try:
        references, anchor, words = (_number()(part) for part in text.split(","))
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise argparse.ArgumentTypeError(
            f"must be three numbers R,A,T, such as 0.25,0.25,6.5, got '{text}'"
        ) from error
    return references, anchor, words
