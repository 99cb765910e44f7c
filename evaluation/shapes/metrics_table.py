"""The benchmark's metrics: what they are called, their units, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass

NEAR_FRAMES = (1, 8, 15)
FAR_FRAME = 127
FAR_FVD = "FVD@128"
FVD_CURVE = "FVD"
"""By window of 16 frames, of the long clips."""
STILL, FLAT = "first frame repeated", "first frame's mean colour"
"""Clips that take no model."""

WORD_TITLES = {"direction": "direction", "speed": "speed", "color": "colour", "shape": "shape"}
LOOKS = ("contrast", "sharpness", "saturation", "brightness")


@dataclass(frozen=True)
class Metric:
    """How a metric is shown.

    Attributes:
        title: name in tables and charts.
        unit: `dB`, `share` (in [0, 1]), `of full range` (in [0, 1]), `frames`, or empty.
        higher_is_better: whether more is better.
    """

    title: str
    unit: str
    higher_is_better: bool


def _metrics() -> dict[str, Metric]:
    frames = (*NEAR_FRAMES, FAR_FRAME)
    table = {f"psnr@{k}": Metric(f"PSNR, frame {k}", "dB", True) for k in frames}
    for k in frames:
        table[f"background_psnr@{k}"] = Metric(f"background PSNR, frame {k}", "dB", True)
    for end, which in ((16, "16 frames"), (128, "frames 112 to 127")):
        for word, title in WORD_TITLES.items():
            table[f"{word}@{end}"] = Metric(f"right {title}, {which}", "share", True)
    table["lasts"] = Metric("frames until the shape is lost", "frames", True)
    table["identity"] = Metric("right colour and shape, all of a long clip", "share", True)
    table["drift_psnr"] = Metric("drift of PSNR", "dB", False)
    table["drift_background_psnr"] = Metric("drift of background PSNR", "dB", False)
    for look in LOOKS:
        table[f"drift_{look}"] = Metric(f"drift of {look}", "of full range", False)
    table["FVD"] = Metric("shapes-FVD", "", False)
    table[FAR_FVD] = Metric("shapes-FVD, frames 112 to 127", "", False)
    table["IS"] = Metric("shapes-IS", "", True)
    table["KVD"] = Metric("shapes-KVD", "", False)
    return table


METRICS: dict[str, Metric] = _metrics()
"""Name in `result.json` -> how it is shown. FVD, IS and KVD look through our own classifier, hence
"shapes-": they compare with no published number."""
