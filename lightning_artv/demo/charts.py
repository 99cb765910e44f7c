"""Line charts as inline SVG, so that a page needs no script and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

COLORS = ("#2563eb", "#dc2626", "#16a34a", "#9333ea", "#d97706")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 460, 240, 48, 32, 28


def line_chart(
    title: str,
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    x_label: str,
    limits: tuple[float, float] | None = None,
) -> str:
    """An SVG of `lines` (name -> one value for each of `x`); `limits` of y, None for the data's.

    Raises:
        ValueError: a line whose length is not that of `x`, or nothing to draw.
    """
    if not x or not lines or any(len(line) != len(x) for line in lines.values()):
        raise ValueError("line_chart needs at least one point and lines as long as x.")
    values = [v for line in lines.values() for v in line]
    low, high = min(values), max(values)
    pad = (high - low) * 0.05 or 1.0
    low, high = limits or (low - pad, high + pad)
    span = (x[-1] - x[0]) or 1.0

    def px(value: float) -> float:
        return LEFT + (value - x[0]) / span * (WIDTH - LEFT - 12)

    def py(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP)

    parts = [_text(WIDTH / 2, 16, title, "middle", bold=True)]
    parts += [_text(WIDTH / 2, HEIGHT - 4, x_label, "middle")]
    for i in range(5):
        value = low + (high - low) * i / 4
        y = py(value)
        ends = f'x1="{LEFT}" x2="{WIDTH - 12}" y1="{y:.1f}" y2="{y:.1f}"'
        parts.append(f'<line {ends} stroke="#ddd"/>')
        parts.append(_text(LEFT - 4, y + 4, f"{value:.3g}", "end"))
        tick = x[0] + span * i / 4
        parts.append(_text(px(tick), HEIGHT - BOTTOM + 14, f"{tick:.4g}", "middle"))
    for i, (name, line) in enumerate(lines.items()):
        color = COLORS[i % len(COLORS)]
        points = " ".join(f"{px(a):.1f},{py(b):.1f}" for a, b in zip(x, line, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        if len(lines) > 1:
            parts.append(_text(WIDTH - 16, TOP + 12 + 14 * i, name, "end", color))
    frame = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    font = 'font-family="sans-serif" font-size="11"'
    label = f'role="img" aria-label="{escape(title)}"'
    return f"<svg {frame} {label} {font}>{''.join(parts)}</svg>"


def _text(
    x: float, y: float, text: str, anchor: str, color: str = "#333", bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}"{weight}>'
        f"{escape(text)}</text>"
    )
