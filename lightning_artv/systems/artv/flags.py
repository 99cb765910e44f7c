"""ART•V's sampling settings as options of their own, other names of `--set NAME=VALUE`.

No torch here, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from lightning_artv.options import number, positive, whole

_GUIDANCE = ("references", "anchor", "text")
SETTINGS = {
    "steps": "steps",
    "sampler": "sampler",
    **{f"guidance_{name}": f"guidance.{name}" for name in _GUIDANCE},
    "noise_level": "noise_level",
    "clip_latents": "clip_latents",
    "segment_anchor": "segment_anchor",
}
"""Option -> the setting that it names."""


def add_flags(parser: argparse._ActionsContainer, clip: str = "--clip") -> None:
    """Add the options to a parser or a group of one.

    Args:
        clip: name of the option that clamps latents, where `--clip` means something else.
    """
    add = parser.add_argument
    add("--steps", type=positive, help="denoising steps per frame")
    add("--sampler", choices=["ddim", "dpm-solver++"], help="how noise is removed")
    add("--guidance", type=_guidance, metavar="R,A,T", help="references, anchor and text weights")
    add("--guidance-references", type=number(), metavar="R", help="weight of the references alone")
    add("--guidance-anchor", type=number(), metavar="A", help="weight of the anchor frame alone")
    add("--guidance-text", type=number(), metavar="T", help="weight of the text alone")
    add("--noise-level", type=whole(0), help="noise on references and anchor (t_test, Sec. 3.3)")
    words = "clamp predicted clean latents to [-CLIP, CLIP]"
    add(clip, type=number(1e-6), dest="clip_latents", metavar="CLIP", help=words)
    add(
        "--segment-anchor",
        action="store_true",
        default=None,
        help="anchor each storyboard segment on its start",
    )


def given_settings(
    options: argparse.Namespace, changes: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    """What the options name of the settings: dotted name -> value; `--set` has the last word.

    Args:
        options: parsed by a parser with these flags.
        changes: the names and values of `--set`.
    """
    given: dict[str, Any] = {}
    if options.guidance is not None:
        weights = zip(_GUIDANCE, options.guidance, strict=True)
        given |= {f"guidance.{name}": weight for name, weight in weights}
    single = {name: getattr(options, option) for option, name in SETTINGS.items()}
    given |= {name: value for name, value in single.items() if value is not None}
    return given | dict(changes)


def _guidance(text: str) -> tuple[float, float, float]:
    try:
        references, anchor, words = (number()(part) for part in text.split(","))
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise argparse.ArgumentTypeError(
            f"must be three numbers R,A,T, such as 0.25,0.25,6.5, got '{text}'"
        ) from error
    return references, anchor, words
