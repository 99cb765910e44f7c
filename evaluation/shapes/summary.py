"""From clips and their truth to metrics, one number per clip, and curves over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.looks import MEASURES
from evaluation.looks import measures as looks_of
from evaluation.shapes.metrics_table import FAR_FRAME, NEAR_FRAMES
from lightning_artv.synthetic.drawing import Image
from lightning_artv.synthetic.measures import WINDOW, WORDS, measure_clip
from lightning_artv.synthetic.worlds import World

DRIFT_SHARE = 0.15
PSNRS = ("psnr", "background_psnr")
CURVES = (*PSNRS, *MEASURES)

Floats = NDArray[np.float64]
Numbers = list[float | None]


@dataclass(frozen=True)
class ClipRecord:
    """What is measured of one clip, once.

    Attributes:
        curves: name of `CURVES` -> `[T]`.
        words: for each window of 16 frames, each of `WORDS` -> what the clip shows, or None.
    """

    curves: dict[str, Floats]
    words: tuple[dict[str, str | None], ...]


@dataclass(frozen=True)
class Summary:
    """All clips of a benchmark.

    Attributes:
        metrics: name -> mean over the clips it applies to, or None.
        per_clip: name -> one number per clip, None where it does not apply.
        curves: psnr, ... -> one number per frame; each of `WORDS` -> share of right ones, one
            number per window. Of the long clips; of all where there are none.
    """

    metrics: dict[str, float | None]
    per_clip: dict[str, Numbers]
    curves: dict[str, Numbers]


def record(frames: Image, world: World) -> ClipRecord:
    """Measure one clip.

    Args:
        frames: uint8 `[T, H, W, 3]` from the world's frame 0 on; T is a multiple of `WINDOW`.
        world: what they should show.
    """
    starts = range(0, len(frames), WINDOW)
    windows = [measure_clip(frames[s : s + WINDOW], world, s) for s in starts]
    curves = {name: np.concatenate([getattr(w, name) for w in windows]) for name in PSNRS}
    looks = looks_of(torch.from_numpy(frames).permute(0, 3, 1, 2)).numpy()
    curves |= {name: looks[:, i] for i, name in enumerate(MEASURES)}
    return ClipRecord(curves, tuple({word: getattr(w, word) for word in WORDS} for w in windows))


def summarise(
    made: Sequence[ClipRecord], true: Sequence[ClipRecord], worlds: Sequence[World]
) -> Summary:
    """Metrics of clips whose longest ones come first.

    A word is right, wrong (also where it cannot be told), or left out: where the same measure does
    not find the word in the true video, in which the shape may be hidden.

    Args:
        made, true: measures of generated and of true clips of the same lengths.
        worlds: theirs.
    """
    longest = max(len(clip.curves["psnr"]) for clip in made)
    right = [_right(*three) for three in zip(made, true, worlds, strict=True)]
    per_clip: dict[str, list[float]] = {}
    for name in PSNRS:
        for k in (*NEAR_FRAMES, FAR_FRAME):
            per_clip[f"{name}@{k}"] = [_at(clip.curves[name], k) for clip in made]
    for last in (NEAR_FRAMES[-1], FAR_FRAME):
        window = (last + 1) // WINDOW - 1
        for i, word in enumerate(WORDS):
            per_clip[f"{word}@{last + 1}"] = [_at(windows[:, i], window) for windows in right]
    per_clip["lasts"] = [_lasts(windows) for windows in right]
    per_clip["identity"] = [_identity(windows) for windows in right]
    for name in CURVES:
        per_clip[f"drift_{name}"] = [_drift(clip.curves[name], name) for clip in made]
    long = [i for i, clip in enumerate(made) if len(clip.curves["psnr"]) == longest]
    curves = {name: np.stack([made[i].curves[name] for i in long]) for name in CURVES}
    shares = np.stack([right[i] for i in long])
    curves |= {word: shares[..., i] for i, word in enumerate(WORDS)}
    return Summary(
        metrics={name: mean(values) for name, values in per_clip.items()},
        per_clip={name: plain(values) for name, values in per_clip.items()},
        curves={name: [mean(column) for column in values.T] for name, values in curves.items()},
    )


def mean(values: Sequence[float] | Floats) -> float | None:
    """The mean of what is not NaN, or None."""
    known = [float(value) for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else None


def plain(values: Sequence[float]) -> Numbers:
    """NaN as None, which JSON can hold."""
    return [None if math.isnan(value) else float(value) for value in values]


def _right(made: ClipRecord, true: ClipRecord, world: World) -> Floats:
    """`[windows, WORDS]`: 1, 0, or NaN where the true video does not tell."""
    rows = zip(made.words, true.words, strict=True)
    wanted: dict[str, Any] = {word: getattr(world, word) for word in WORDS}
    return np.array(
        [
            [
                float(shown[word] == wanted[word]) if told[word] == wanted[word] else np.nan
                for word in WORDS
            ]
            for shown, told in rows
        ]
    )


def _lasts(right: Floats) -> float:
    """Frames before the first window of `[windows, WORDS]` in which nothing of the shape's colour
    is found (a colour that the truth hides is none lost); NaN for clips of one window.
    """
    if len(right) < 2:
        return math.nan
    lost = np.flatnonzero(right[:, WORDS.index("color")] == 0)
    return float(WINDOW * (lost[0] if len(lost) else len(right)))


def _identity(right: Floats) -> float:
    """Share of the windows with the right colour and shape, of those where the truth tells both;
    NaN for clips of one window, or where it tells none.
    """
    both = right[:, [WORDS.index("color"), WORDS.index("shape")]]
    both = both[~np.isnan(both).any(1)]
    return float(both.all(1).mean()) if len(right) > 1 and len(both) else math.nan


def _at(values: Floats, index: int) -> float:
    return float(values[index]) if index < len(values) else math.nan


def _drift(values: Floats, name: str) -> float:
    """`M(first 15 %) - M(last 15 %)` of the generated frames; NaN for clips of one window.

    The given first frame is left out, since its PSNR is infinite. Signed for PSNRs, which have a
    better side; else absolute (FramePack, Zhang & Agrawala 2025).
    """
    if len(values) <= WINDOW:
        return math.nan
    ends = math.floor(DRIFT_SHARE * (len(values) - 1))
    change = float(values[1 : 1 + ends].mean() - values[-ends:].mean())
    return change if name in PSNRS else abs(change)
