"""The figures' charts: curves with bands, bars, and the mask's distribution by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.ablations.canvas import INK, Canvas, Raster, Svg, box

COLORS = (
    *("#4e79a7", "#e15759", "#f28e2b", "#59a14f", "#b07aa1"),
    *("#76b7b2", "#c9a227", "#9c755f", "#ff7f9a", "#8c8c8c"),
)
WIDTH, LEFT, RIGHT, TOP, BOTTOM, PLOT = 460, 46, 12, 30, 36, 190
ROW, LETTER = 16, 6.4

Draw: TypeAlias = Callable[[Canvas], None]


@dataclass(frozen=True)
class Chart:
    """A chart that can be drawn on any canvas.

    Attributes:
        title: above it.
        height: in pixels; the width is `WIDTH`.
        draw: draws everything but the title.
    """

    title: str
    height: float
    draw: Draw

    def svg(self) -> str:
        """An `<svg>` element."""
        canvas = Svg(WIDTH, self.height, self.title)
        self._on(canvas)
        return canvas.source()

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 `[H, W, 3]`, on white."""
        canvas = Raster(WIDTH, self.height)
        self._on(canvas)
        return canvas.pixels()

    def _on(self, canvas: Canvas) -> None:
        canvas.text(4, 16, self.title, bold=True)
        self.draw(canvas)


@dataclass(frozen=True)
class Line:
    """A curve and its spread.

    Attributes:
        y: `[N]`; NaN leaves a gap.
        spread: `[N]`, drawn as a band of +- this; None for none.
        color: None for the next of `COLORS`.
    """

    y: ArrayLike
    spread: ArrayLike | None = None
    color: str | None = None

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The curve, and the band's lower and upper end."""
        y = np.asarray(self.y, np.float64)
        spread = np.zeros_like(y) if self.spread is None else np.nan_to_num(self.spread)
        return y, y - spread, y + spread


def curves(
    title: str,
    x: Sequence[float],
    lines: Mapping[str, Line],
    x_label: str,
    dots: bool = False,
    limits: tuple[float, float] | None = None,
) -> Chart:
    """Curves over a common axis, with bands and a legend.

    Args:
        title: with the unit of y.
        x: `[N]`, rising.
        lines: name -> curve of that length.
        x_label: below the axis.
        dots: mark the points: for few of them.
        limits: of y; None for the data's.

    Raises:
        ValueError: nothing to draw, or a curve of another length than `x`.
    """
    bounds = {name: line.bounds() for name, line in lines.items()}
    if not bounds or not len(x) or any(len(b[0]) != len(x) for b in bounds.values()):
        raise ValueError("A chart needs at least one curve, and curves as long as x.")
    finite = np.concatenate([np.concatenate(b) for b in bounds.values()])
    low, high = limits or _limits(finite[np.isfinite(finite)])
    legend, rows = _legend(list(bounds))
    colors = [line.color or COLORS[i % len(COLORS)] for i, line in enumerate(lines.values())]

    def px(value: float) -> float:
        return LEFT + (value - x[0]) / ((x[-1] - x[0]) or 1) * (WIDTH - LEFT - RIGHT)

    def py(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return TOP + PLOT * (1 - share)

    def draw(canvas: Canvas) -> None:
        _axes(canvas, (low, high), py)
        for tick in _ticks(x):
            canvas.text(px(tick), TOP + PLOT + 16, f"{tick:.4g}", "middle")
        canvas.text(LEFT + (WIDTH - LEFT - RIGHT) / 2, TOP + PLOT + 31, x_label, "middle")
        for color, (y, lower, upper) in zip(colors, bounds.values(), strict=True):
            for part in _unbroken(y):
                up = [(px(x[i]), py(upper[i])) for i in part]
                down = [(px(x[i]), py(lower[i])) for i in reversed(part)]
                if (upper != lower).any():
                    canvas.area([*up, *down], color, 0.13)
                points = [(px(x[i]), py(y[i])) for i in part]
                canvas.line(points, color)
                for a, b in points if dots else []:
                    canvas.area(box(a - 3, b - 3, 6, 6), color)
        for color, (name, left, row) in zip(colors, legend, strict=False):
            top = TOP + PLOT + BOTTOM + 6 + row * ROW
            canvas.area(box(left, top, 14, 4), color)
            canvas.text(left + 19, top + 6, name)

    return Chart(title, TOP + PLOT + BOTTOM + rows * ROW + 8, draw)


def bars(title: str, values: Mapping[str, Sequence[float]]) -> Chart:
    """A horizontal bar a name: the mean, a whisker of +- sd, and a dot a seed.

    Args:
        title: with the unit.
        values: name -> one value a seed.

    Raises:
        ValueError: no name, or one without a value.
    """
    if not values or not all(len(v) for v in values.values()):
        raise ValueError("A bar chart needs at least one bar, and a value for each.")
    every = np.concatenate([np.asarray(v, np.float64) for v in values.values()])
    sds = {n: float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for n, v in values.items()}
    low, high = min(0.0, float(every.min())), max(0.0, float(every.max()))
    span = (high - low) or 1.0
    digits = places_of(max(high, -low))
    left = 14 + LETTER * max(len(name) for name in values)
    right = 96
    height = 22

    def px(value: float) -> float:
        return left + (value - low) / span * (WIDTH - left - right)

    def draw(canvas: Canvas) -> None:
        for row, (name, cells) in enumerate(values.items()):
            top, mean, sd = TOP + row * height, float(np.mean(cells)), sds[name]
            color = COLORS[row % len(COLORS)]
            canvas.text(left - 8, top + 14, name, "end")
            start, end = sorted((px(0), px(mean)))
            canvas.area(box(start, top + 3, max(end - start, 1), height - 8), color, 0.75)
            canvas.line([(px(mean - sd), top + 10), (px(mean + sd), top + 10)], INK, 3)
            for value in cells:
                canvas.area(box(px(value) - 1.5, top + 8.5, 3, 3), "#222222")
            text = f"{mean:.{digits}f}" + (f" ± {sd:.{digits}f}" if len(cells) > 1 else "")
            canvas.text(WIDTH - right + 10, top + 14, text)

    return Chart(title, TOP + len(values) * height + 6, draw)


def heat(
    title: str, density: NDArray[np.float64], means: ArrayLike, x: Sequence[float], x_label: str
) -> Chart:
    """How often each mask value occurs at each step (darker is more often), and the mean.

    Args:
        title: above.
        density: `[steps, bins]` of values in [0, 1], in any unit.
        means: `[steps]`, in [0, 1].
        x: what to write below each step, `[steps]`.
        x_label: below the axis.
    """
    shares = density / np.maximum(density.sum(axis=1, keepdims=True), 1e-12)
    steps, bins = shares.shape
    width = (WIDTH - LEFT - RIGHT) / steps

    def py(value: float) -> float:
        return TOP + PLOT * (1 - value)

    def draw(canvas: Canvas) -> None:
        _axes(canvas, (0, 1), py)
        for step in range(steps):
            for cell in np.flatnonzero(shares[step] > 1e-4):
                corners = box(LEFT + step * width, py((cell + 1) / bins), width - 0.6, PLOT / bins)
                canvas.area(corners, COLORS[0], float(np.sqrt(shares[step, cell])))
        middle = [LEFT + (step + 0.5) * width for step in range(steps)]
        points = [(m, py(v)) for m, v in zip(middle, np.asarray(means), strict=True)]
        canvas.line(points, COLORS[1])
        for a, b in points:
            canvas.area(box(a - 3, b - 3, 6, 6), COLORS[1])
        for step in range(0, steps, -(-steps // 9)):
            canvas.text(middle[step], TOP + PLOT + 16, f"{x[step]:g}", "middle")
        canvas.text(LEFT + (WIDTH - LEFT - RIGHT) / 2, TOP + PLOT + 31, x_label, "middle")

    return Chart(title, TOP + PLOT + BOTTOM, draw)


def places_of(value: float) -> int:
    """Digits behind the point for four digits or so."""
    return 2 if abs(value) >= 10 else 3 if abs(value) >= 1 else 4


def _axes(canvas: Canvas, limits: tuple[float, float], py: Callable[[float], float]) -> None:
    for value in np.linspace(*limits, 5):
        canvas.line([(LEFT, py(value)), (WIDTH - RIGHT, py(value))], INK, 1)
        canvas.text(LEFT - 5, py(value) + 4, f"{value:.3g}", "end")


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    pad = (high - low) * 0.05 or 0.5
    return low - pad, high + pad


def _ticks(x: Sequence[float]) -> list[float]:
    """The points themselves where they are few, else six of them."""
    if len(x) <= 9:
        return list(x)
    return [x[round(i)] for i in np.linspace(0, len(x) - 1, 6)]


def _unbroken(y: NDArray[np.float64]) -> list[list[int]]:
    """Runs of indices without NaN."""
    runs: list[list[int]] = [[]]
    for index, value in enumerate(y):
        if np.isnan(value):
            runs.append([])
        else:
            runs[-1].append(index)
    return [run for run in runs if run]


def _legend(names: Sequence[str]) -> tuple[list[tuple[str, float, int]], int]:
    """Where each name stands (left, row), and the number of rows; one name needs no legend."""
    if len(names) < 2:
        return [], 0
    places, left, row = [], float(LEFT), 0
    for name in names:
        need = 19 + LETTER * len(name) + 14
        if left + need > WIDTH and left > LEFT:
            left, row = float(LEFT), row + 1
        places.append((name, left, row))
        left += need
    return places, row + 1
