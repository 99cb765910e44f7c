"""Charts show what they are given, in both forms, and are the same bytes each time."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from lightning_artv.pages.chart import (
    ALL,
    BOUND,
    COLORS,
    KEPT,
    Chart,
    Line,
    bars,
    curves,
    heat,
    histogram,
)

Point = tuple[float, float]


def paths(svg: str, style: str) -> list[list[Point]]:
    """The corners of every path whose style holds `style`."""
    found = re.findall(rf'<path d="([^"]+)"[^>]*style="[^"]*{style}', svg)
    return [[(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", d)] for d in found]


def width(path: list[Point]) -> float:
    xs = [x for x, _ in path]
    return max(xs) - min(xs)


def height(path: list[Point]) -> float:
    ys = [y for _, y in path]
    return max(ys) - min(ys)


def test_a_curve_is_drawn_where_its_values_are() -> None:
    svg = curves("t", [0, 10], {"a": Line([0.0, 1.0], [0.1, 0.1])}, "x", limits=(0, 1)).svg()
    (((x0, y0), (x1, y1)),) = paths(svg, f"fill: none; stroke: {COLORS[0]}")
    assert x0 < x1 and y0 > y1  # up is more
    assert svg.count(f"fill: {COLORS[0]}; fill-opacity: 0.13") == 1
    (band,) = re.findall(r'<path id="[^"]+" d="([^"]+)"', svg)
    starts = [float(y) for x, y in re.findall(r"[ML] (\S+) (\S+)", band) if abs(float(x) - x0) < 1]
    assert max(starts) - min(starts) == pytest.approx(0.2 * (y0 - y1), rel=0.01)  # +- 0.1 of 1
    ((a, b),) = paths(curves("t", [0, 1], {"a": Line([0, 1])}, "x").svg(), f"stroke: {COLORS[0]}")
    assert a[1] - b[1] > 100


def test_a_gap_is_left_where_there_is_no_number() -> None:
    svg = curves("t", range(5), {"a": Line([1.0, 2.0, np.nan, 2.0, 3.0])}, "x").svg()
    (path,) = re.findall(rf'<path d="([^"]+)"[^>]*stroke: {COLORS[0]}', svg)
    assert path.count("M") == 2 and path.count("L") == 2 and "nan" not in svg


def test_a_curve_of_one_value_is_seen() -> None:
    def marks(x: list[float]) -> int:
        line = Line([0.5] * len(x))
        return curves("t", x, {"a": line}, "x", limits=(0, 1)).svg().count(f"fill: {COLORS[0]}")

    assert marks([0.0, 1.0]) == 0 and marks([0.0]) >= 1


def test_every_curve_has_its_name_and_colour() -> None:
    lines = {"a < b": Line([1, 2, 3]), "_$y$": Line([3, 3, 3], color="#888888"), "c": Line([0] * 3)}
    svg = curves("T & t", [1, 2, 3], lines, "frame").svg()
    for color in (COLORS[0], "#888888", COLORS[2]):
        assert len(re.findall(f"stroke: {color}", svg)) == 2  # also in the legend
    for word in (">a &lt; b<", ">_$y$<", ">c<", ">frame<", ">T &amp; t<", 'aria-label="T &amp; t"'):
        assert word in svg
    alone = curves("t", [1, 2, 3], {"a": Line([1, 2, 3])}, "frame").svg()
    assert ">a<" not in alone


@pytest.mark.parametrize(("x", "lines"), [([], {}), ([1], {}), ([1, 2], {"a": Line([1.0])})])
def test_what_does_not_fit_is_refused(x: list[float], lines: dict[str, Line]) -> None:
    with pytest.raises(ValueError, match="at least one curve, and curves as long as x"):
        curves("t", x, lines, "x")


def test_few_points_are_the_ticks() -> None:
    few = curves("t", [0, 100, 250], {"a": Line([1, 2, 3])}, "x", dots=True).svg()
    assert all(f">{tick}<" in few for tick in (0, 100, 250)) and ">50<" not in few


def test_bars_are_as_long_as_their_means() -> None:
    svg = bars("t", {"a": [1.0, 3.0], "b": [4.0, 4.0]}).svg()
    (first,), (second,) = (paths(svg, f"fill: {COLORS[i]}; opacity: 0.75") for i in (0, 1))
    assert width(second) == pytest.approx(2 * width(first), rel=0.01)
    assert ">2.000 ± 1.414<" in svg and ">4.000 ± 0.000<" in svg and ">a<" in svg
    for nothing in ({}, {"a": []}):
        with pytest.raises(ValueError, match="a value for each"):
            bars("t", nothing)


def test_the_heat_is_strongest_where_values_are() -> None:
    density = np.zeros((3, 10))
    density[0, 0] = density[1, 5] = density[2, 9] = 7
    picture = heat("t", density, [0.05, 0.55, 0.95], [900, 500, 100], "t").pixels().astype(int)
    blue = abs(picture - [int(COLORS[0][i : i + 2], 16) for i in (1, 3, 5)]).sum(axis=2) < 30
    rows, columns = np.nonzero(blue)
    thirds = np.digitize(columns, np.linspace(columns.min(), columns.max() + 1, 4)) - 1
    tops = [np.median(rows[thirds == third]) for third in range(3)]
    assert tops[0] > tops[1] + 50 > tops[2] + 100
    assert blue.sum() == pytest.approx((columns.max() - columns.min()) * np.ptp(rows) / 10, rel=0.2)


def test_a_histogram_counts_all_and_the_kept() -> None:
    values = np.array([0.0, 0, 0, 1, 2, 10, np.nan])
    kept = np.array([True, False, False, True, True, False, True])
    chart = histogram("t", values, kept, (1.5, None))
    assert chart is not None
    svg = chart.svg()
    every = [height(bar) for bar in paths(svg, f"fill: {ALL}") if height(bar)]
    some = [height(bar) for bar in paths(svg, f"fill: {KEPT}") if height(bar)]
    assert [round(h / min(every)) for h in every] == [3, 1, 1, 1]
    assert [round(h / min(every)) for h in some] == [1, 1, 1]
    ((top, bottom),) = paths(svg, f'stroke-dasharray[^"]*stroke: {BOUND}')
    assert top[0] == bottom[0]
    for word in ("median 0.5", ">\u00a01.5\u00a0<", ">0<", ">9.96<"):
        assert word in svg, word
    assert histogram("t", np.array([np.nan]), np.array([True])) is None


def test_a_bound_outside_the_values_is_still_seen() -> None:
    chart = histogram("t", np.array([1.0, 1.0]), np.array([True, True]), (None, 30.0))
    assert chart is not None and ">30<" in chart.svg() and ">\u00a030\u00a0<" in chart.svg()
    same = histogram("t", np.array([4.0]), np.array([True]))
    assert same is not None and ">4<" in same.svg() and ">5<" in same.svg()


def test_charts_follow_the_page_and_need_nothing_from_elsewhere() -> None:
    svg = bars("t ↑", {"a": [1.0], "b": [2.0]}).svg()
    assert "currentColor" in svg and "://" not in svg and "<style" not in svg and ">t ↑<" in svg
    assert svg.startswith("<svg viewBox=") and svg.rstrip().endswith("</svg>")
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids))


def test_pixels_show_the_chart() -> None:
    picture = bars("t ↑", {"a": [1.0], "b": [2.0]}).pixels()
    assert picture.dtype == np.uint8 and picture.shape == (2 * 86, 920, 3)
    blue, red = (
        (abs(picture - 0.75 * np.array(color) - 0.25 * 255).sum(axis=2) < 60).sum()
        for color in ((78, 121, 167), (225, 87, 89))
    )
    assert blue > 1000 and red == pytest.approx(2 * blue, rel=0.1)


def test_the_same_chart_is_the_same_bytes_in_every_process() -> None:
    program = (
        "from lightning_artv.pages.chart import *\n"
        "import hashlib; c = curves('t', [0, 1, 2], {'a': Line([1, 2, 3], [1, 1, 1])}, 'x', True)\n"
        "print(hashlib.sha256(c.svg().encode() + c.pixels().tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", program]
    first, second = (subprocess.run(command, capture_output=True, text=True) for _ in range(2))
    assert first.stdout == second.stdout and len(first.stdout) == 65, first.stderr


def test_a_users_matplotlib_settings_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    chart = curves("t", [0, 1], {"a": Line([0, 1])}, "x")
    before = chart.svg()
    with matplotlib.rc_context({"axes.labelsize": 30, "xtick.labelsize": 25}):
        assert chart.svg() == before


def test_matplotlib_is_loaded_by_the_first_drawing_only() -> None:
    program = (
        "import sys; import lightning_artv.pages.chart as c, lightning_artv.pages.table\n"
        "chart = c.bars('t', {'a': [1.0]}); assert 'matplotlib' not in sys.modules\n"
        "assert 'jinja2' not in sys.modules\n"
        "chart.svg(); assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_long_titles_are_broken_and_stay_inside() -> None:
    svg = Chart("word " * 40, lambda axes: None).svg()
    assert svg.count("word word") > 3 and 'aria-label="word' in svg
    assert max(len(text) for text in re.findall(">([^<]*word[^<]*)<", svg)) < 60
