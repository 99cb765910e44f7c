"""Charts by matplotlib: SVG for pages, pixels for TensorBoard.

matplotlib is imported where a chart is drawn: a command that draws nothing does not wait for it.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

INK = "#1f2329"
"""Colour of text and axes; in SVG the page's own, so that a dark page stays legible."""
COLORS = (
    *("#4e79a7", "#e15759", "#f28e2b", "#59a14f", "#b07aa1"),
    *("#76b7b2", "#c9a227", "#9c755f", "#ff7f9a", "#8c8c8c"),
)
ALL, KEPT, BOUND = "#b4bcc8", COLORS[0], COLORS[1]
"""Colours of a histogram: all values, the kept ones, the thresholds."""
WIDTH, LETTER, ROW, BINS, FEW = 460, 6.6, 18, 48, 9
NEEDLESS = r' id="[^"]*_\d+"| transform="rotate\(-0[^"]*"|font-family: [^;]*; |(?<=\.\d\d)\d{4}'
"""What is left out of SVG: names, the page's font, digits behind a hundredth of a pixel."""
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "lightning_artv",  # the same chart gives the same bytes
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    "text.parse_math": False,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.formatter.limits": (-4, 5),
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.alpha": 0.2,
    "axes.axisbelow": True,
    "xtick.bottom": False,
    "ytick.left": False,
    "legend.frameon": False,
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "axes.spines.left"), False),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "grid.color"), INK),
}

Axes: TypeAlias = Any
"""`matplotlib.axes.Axes`."""


@dataclass(frozen=True)
class Chart:
    """One chart; it is drawn anew for each output.

    Attributes:
        title: text above it.
        draw: function that draws all else on matplotlib's axes.
        names: what the legend shows, when it is more than one.
        size: width and height in pixels, without the legend.
    """

    title: str
    draw: Callable[[Axes], None]
    names: Sequence[str] = ()
    size: tuple[int, int] = (WIDTH, 240)

    def svg(self) -> str:
        """An `<svg>` element without ids of its own, scripts or addresses."""
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        text = self._drawn("svg", transparent=True, metadata=nothing).decode()
        opening, body = text[text.index("<svg") :].split(">", 1)
        body = re.sub(r"<style.*?</style>|<!--.*?-->|\s*\n\s*", " ", body, flags=re.DOTALL)
        body = re.sub("<[^>]+>", lambda tag: re.sub(NEEDLESS, "", tag[0]), body)
        body = body.replace(INK, "currentColor")
        view = re.search(r'viewBox="[^"]*"', opening)
        label = self.title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
        wide = f"max-width: {1.25 * self.size[0]:g}px"
        return f'<svg {view and view[0]} role="img" aria-label="{label}" style="{wide}">{body}'

    __html__ = svg

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 `[H, W, 3]`, on white, two pixels for one of `size`."""
        from PIL import Image

        with Image.open(io.BytesIO(self._drawn("png", dpi=144))) as image:
            return np.asarray(image.convert("RGB"))

    def _drawn(self, form: str, **options: Any) -> bytes:
        from matplotlib import style
        from matplotlib.figure import Figure

        shown = self.names if len(self.names) > 1 else ()
        columns = max(1, int(self.size[0] // (LETTER * max(map(len, shown), default=1) + 34)))
        height = self.size[1] + ROW * -(-len(shown) // columns)
        file = io.BytesIO()
        with style.context(["default", STYLE]):
            figure = Figure((self.size[0] / 72, height / 72), dpi=72, layout="constrained")
            axes = figure.subplots()
            axes.set_title(textwrap.fill(self.title, self.size[0] // 8))
            self.draw(axes)
            if shown:
                lines = axes.get_lines()
                figure.legend(lines, shown, loc="outside lower left", ncols=columns)
            figure.savefig(file, format=form, **options)
        return file.getvalue()


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
        title: title, with the unit of y.
        x: `[N]`, rising.
        lines: name -> curve of that length.
        x_label: text below the axis.
        dots: mark the points: for few of them; a single one is marked anyway.
        limits: range of y; None for the data's.

    Raises:
        ValueError: nothing to draw, or a curve of another length than `x`.
    """
    if not lines or not len(x) or any(np.size(line.y) != len(x) for line in lines.values()):
        raise ValueError("A chart needs at least one curve, and curves as long as x.")

    def draw(axes: Axes) -> None:
        for index, line in enumerate(lines.values()):
            color = line.color or COLORS[index % len(COLORS)]
            y = np.asarray(line.y, np.float64)
            axes.plot(x, y, "s-" if dots or len(x) == 1 else "-", color=color, ms=5, lw=2)
            if line.spread is not None and np.any(line.spread):
                spread = np.nan_to_num(line.spread)
                axes.fill_between(x, y - spread, y + spread, color=color, alpha=0.13, lw=0)
        axes.set(xlabel=x_label, ylim=limits)
        axes.margins(x=0.02 if dots else 0)
        if len(x) <= FEW:
            axes.set_xticks(x, [f"{tick:g}" for tick in x])

    return Chart(title, draw, list(lines))


def bars(title: str, values: Mapping[str, Sequence[float]]) -> Chart:
    """A horizontal bar per name: the mean, a whisker of +- sd, and a dot per seed.

    Args:
        title: title, with the unit.
        values: name -> one value per seed.

    Raises:
        ValueError: no name, or one without a value.
    """
    if not values or not all(len(v) for v in values.values()):
        raise ValueError("A bar chart needs at least one bar, and a value for each.")
    digits = places_of(max(abs(v) for cells in values.values() for v in cells))

    def draw(axes: Axes) -> None:
        for row, cells in enumerate(values.values()):
            mean, many = float(np.mean(cells)), len(cells) > 1
            sd = float(np.std(cells, ddof=1)) if many else 0.0
            axes.barh(row, mean, 0.65, color=COLORS[row % len(COLORS)], alpha=0.75)
            axes.hlines(row, mean - sd, mean + sd, INK, lw=3, alpha=0.3)
            axes.plot(cells, [row] * len(cells), "s", color=INK, ms=3)
            text = f"{mean:.{digits}f}" + (f" ± {sd:.{digits}f}" if many else "")
            axes.annotate(text, (1.02, row), xycoords=("axes fraction", "data"), va="center")
        axes.set_yticks(range(len(values)), list(values))
        axes.set(xticks=[], ylim=(len(values) - 0.4, -0.6))
        axes.spines.bottom.set_visible(False)
        axes.grid(False)

    return Chart(title, draw, size=(WIDTH, 40 + 23 * len(values)))


def heat(
    title: str, density: NDArray[np.float64], means: ArrayLike, x: Sequence[float], x_label: str
) -> Chart:
    """How often each value occurs at each step (darker is more often), and the mean.

    Args:
        title: text above.
        density: `[steps, bins]` of values in [0, 1], in any unit.
        means: `[steps]`, in [0, 1].
        x: what to write below each step, `[steps]`.
        x_label: text below the axis.
    """
    steps = len(density)
    shares = density / np.maximum(density.sum(axis=1, keepdims=True), 1e-12)
    blue = [int(COLORS[0][at : at + 2], 16) for at in (1, 3, 5)]
    cells = np.zeros((*shares.T.shape, 4), np.uint8)
    cells[...] = [*blue, 0]
    cells[..., 3] = np.round(255 * np.sqrt(shares.T))

    def draw(axes: Axes) -> None:
        place = (-0.5, steps - 0.5, 0, 1)
        axes.imshow(cells, aspect="auto", origin="lower", extent=place, interpolation="none")
        axes.plot(range(steps), means, "s-", color=COLORS[1], ms=5, lw=2)
        shown = range(0, steps, -(-steps // FEW))
        axes.set_xticks(shown, [f"{x[step]:g}" for step in shown])
        axes.set(xlabel=x_label, ylim=(0, 1))

    return Chart(title, draw)


def histogram(
    title: str,
    values: NDArray[np.float64],
    kept: NDArray[np.bool_],
    bounds: tuple[float | None, float | None] = (None, None),
) -> Chart | None:
    """How often values occur: all of them in grey, the kept ones in front.

    Args:
        title: text above.
        values: `[N]`; nan is left out, and the outermost 0.1 % are counted in the last bars.
        kept: `[N]`.
        bounds: thresholds of the filter, drawn as lines.

    Returns:
        None where there is no value.
    """
    present = ~np.isnan(values)
    values, kept = values[present], kept[present]
    if not len(values):
        return None
    given = [bound for bound in bounds if bound is not None]
    low, high = np.quantile(values, [0.001, 0.999])
    low, high = min([low, *given]), max([high, *given])
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)

    def draw(axes: Axes) -> None:
        for part, color in ((values, ALL), (values[kept], KEPT)):
            counts = np.histogram(np.clip(part, edges[0], edges[-1]), edges)[0]
            axes.bar(edges[:-1], counts, 0.88 * np.diff(edges), align="edge", color=color)
        axes.set_title(f"median {np.median(values):.3g}", loc="right", weight="normal", size=11)
        for bound in given:
            _threshold(axes, bound, "left" if bound < edges[BINS // 2] else "right")
        axes.set(yticks=[], xlim=edges[[0, -1]])
        axes.set_xticks(edges[[0, -1]], [f"{edge:.3g}" for edge in edges[[0, -1]]])
        for label, side in zip(axes.get_xticklabels(), ("left", "right"), strict=True):
            label.set_horizontalalignment(side)

    return Chart(title, draw, size=(320, 150))


def _threshold(axes: Axes, value: float, side: str) -> None:
    """A dashed line with its value beside it, in words of matplotlib's `ha`."""
    axes.axvline(value, color=BOUND, ls="--", lw=1)
    text, top = f"\u00a0{value:.3g}\u00a0", axes.get_xaxis_transform()
    axes.text(value, 0.99, text, transform=top, ha=side, va="top", color=BOUND)


def places_of(value: float) -> int:
    """Digits behind the point for four digits or so."""
    return 2 if abs(value) >= 10 else 3 if abs(value) >= 1 else 4
