"""One drawing interface, two outputs: SVG for the page, pixels for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Literal, Protocol, TypeAlias

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

Point: TypeAlias = tuple[float, float]
Anchor: TypeAlias = Literal["start", "middle", "end"]
INK = "ink"
"""The colour of text: the page's own in SVG, so that a dark page stays legible."""
FONT = 12
PLAIN = {"↑": "(more is better)", "↓": "(less is better)", "−": "-"}
"""What the pixels' font lacks."""


class Canvas(Protocol):
    """What charts draw on; units are pixels, y runs down."""

    def line(self, points: Sequence[Point], color: str, width: float = 2) -> None:
        """Connected points."""

    def area(self, points: Sequence[Point], color: str, opacity: float = 1) -> None:
        """A filled polygon."""

    def text(
        self,
        x: float,
        y: float,
        text: str,
        anchor: Anchor = "start",
        color: str = INK,
        bold: bool = False,
    ) -> None:
        """One line of text, `y` its baseline."""


class Svg:
    """Inline SVG that fills its place's width up to its own.

    Args:
        width, height: in pixels.
        title: for readers who cannot see it.
    """

    def __init__(self, width: float, height: float, title: str) -> None:
        self._size, self._title = (width, height), title
        self._parts: list[str] = []

    def line(self, points: Sequence[Point], color: str, width: float = 2) -> None:
        """See `Canvas`."""
        self._parts.append(
            f'<polyline points="{_points(points)}" fill="none" stroke="{_css(color)}" '
            f'stroke-width="{width:g}"{_faint(color)}/>'
        )

    def area(self, points: Sequence[Point], color: str, opacity: float = 1) -> None:
        """See `Canvas`."""
        self._parts.append(
            f'<polygon points="{_points(points)}" fill="{_css(color)}" '
            f'fill-opacity="{opacity:.3g}"/>'
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        anchor: Anchor = "start",
        color: str = INK,
        bold: bool = False,
    ) -> None:
        """See `Canvas`."""
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_css(color)}"{weight}>'
            f"{escape(text)}</text>"
        )

    def source(self) -> str:
        """The `<svg>` element."""
        width, height = self._size
        return (
            f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" '
            f'aria-label="{escape(self._title)}" font-family="system-ui, sans-serif" '
            f'font-size="{FONT}">{"".join(self._parts)}</svg>'
        )


class Raster:
    """A picture on white.

    Args:
        width, height: in the chart's pixels.
        scale: the picture has this many pixels for one of the chart's.
    """

    def __init__(self, width: float, height: float, scale: int = 2) -> None:
        self._scale = scale
        self._image = Image.new("RGB", (round(width * scale), round(height * scale)), "white")
        self._draw = ImageDraw.Draw(self._image, "RGBA")
        self._font = ImageFont.load_default(FONT * scale)

    def line(self, points: Sequence[Point], color: str, width: float = 2) -> None:
        """See `Canvas`."""
        places = [(x * self._scale, y * self._scale) for x, y in points]
        opacity = 0.25 if color == INK else 1
        pixels = max(1, round(width * self._scale))
        self._draw.line(places, fill=_rgba(color, opacity), width=pixels, joint="curve")

    def area(self, points: Sequence[Point], color: str, opacity: float = 1) -> None:
        """See `Canvas`."""
        places = [(x * self._scale, y * self._scale) for x, y in points]
        self._draw.polygon(places, fill=_rgba(color, opacity))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        anchor: Anchor = "start",
        color: str = INK,
        bold: bool = False,
    ) -> None:
        """See `Canvas`."""
        self._draw.text(
            (x * self._scale, y * self._scale),
            "".join(PLAIN.get(c, c) for c in text),
            fill=_rgba(color, 1),
            font=self._font,
            anchor={"start": "ls", "middle": "ms", "end": "rs"}[anchor],
            stroke_width=int(bold),
        )

    def pixels(self) -> np.ndarray:
        """uint8 `[H, W, 3]`."""
        return np.array(self._image)


def box(x: float, y: float, width: float, height: float) -> list[Point]:
    """A rectangle's corners."""
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _css(color: str) -> str:
    return "currentColor" if color == INK else color


def _faint(color: str) -> str:
    return ' stroke-opacity="0.25"' if color == INK else ""


def _rgba(color: str, opacity: float) -> tuple[int, ...]:
    rgb = (34, 34, 34) if color == INK else ImageColor.getrgb(color)[:3]
    return (*rgb, round(255 * opacity))
