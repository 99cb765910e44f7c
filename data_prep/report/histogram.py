"""Histograms as inline SVG, so that a page needs no script and no network."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 320, 150, 10, 10, 30, 22
BINS = 48
ALL, KEPT, BOUND = "#d4d9e2", "#2563eb", "#dc2626"


def histogram(
    title: str,
    values: NDArray[np.float64],
    kept: NDArray[np.bool_],
    bounds: tuple[float | None, float | None] = (None, None),
) -> str:
    """An SVG of how often values occur: all of them in grey, the kept ones in front in blue.

    Args:
        title: above it.
        values: `[N]`; nan is left out, and the outermost 0.1 % are counted in the last bars.
        kept: `[N]`.
        bounds: of the filter; drawn as lines.
    """
    present = ~np.isnan(values)
    values, kept = values[present], kept[present]
    if not len(values):
        return ""
    edges = _edges(values, bounds)
    inside = np.clip(values, edges[0], edges[-1])
    every = np.histogram(inside, edges)[0]
    some = np.histogram(inside[kept], edges)[0]
    parts = [_text(LEFT, 16, title, "start", bold=True)]
    parts += [_text(WIDTH - RIGHT, 16, f"median {np.median(values):.3g}", "end")]
    parts += [_bars(every, every.max(), ALL), _bars(some, every.max(), KEPT)]
    base = HEIGHT - BOTTOM
    parts.append(f'<path d="M{LEFT} {base}H{WIDTH - RIGHT}" stroke="#9aa3b2"/>')
    parts.append(_text(LEFT, HEIGHT - 6, f"{edges[0]:.3g}", "start"))
    parts.append(_text(WIDTH - RIGHT, HEIGHT - 6, f"{edges[-1]:.3g}", "end"))
    for bound in bounds:
        if bound is not None:
            x = LEFT + (bound - edges[0]) / (edges[-1] - edges[0]) * (WIDTH - LEFT - RIGHT)
            line = f'<path d="M{x:.1f} {TOP - 6}V{base}" stroke="{BOUND}" stroke-dasharray="4 3"/>'
            side = "start" if x < WIDTH / 2 else "end"
            parts.append(
                line
                + _text(x + (3 if side == "start" else -3), TOP + 2, f"{bound:.3g}", side, BOUND)
            )
    frame = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}"'
    return f"<svg {frame}>{''.join(parts)}</svg>"


def _edges(
    values: NDArray[np.float64], bounds: tuple[float | None, float | None]
) -> NDArray[np.float64]:
    low, high = np.quantile(values, [0.001, 0.999])
    given = [bound for bound in bounds if bound is not None]
    low, high = min([low, *given]), max([high, *given])
    if low == high:
        high = low + 1
    return np.linspace(low, high, BINS + 1)


def _bars(counts: NDArray[np.int64], most: int, color: str) -> str:
    step = (WIDTH - LEFT - RIGHT) / BINS
    base = HEIGHT - BOTTOM
    bars = [
        f"M{LEFT + i * step:.1f} {base}v{-(base - TOP) * count / most:.1f}h{step - 0.8:.1f}V{base}z"
        for i, count in enumerate(counts.tolist())
        if count
    ]
    return f'<path d="{"".join(bars)}" fill="{color}"/>'


def _text(
    x: float, y: float, text: str, anchor: str, color: str = "#475067", bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="{color}"{weight}>'
        f"{escape(text)}</text>"
    )
